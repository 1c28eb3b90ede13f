"""`trapctl check` names what numba compiles at each start, and says nothing where numba is not used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.ctl.test_findings import SETTINGS, SOUND
from trapd.ctl.findings import OK, WARNING, Facts, Finding
from trapd.ctl.rules_numba import numba_cache
from trapd.environment import NUMBA_LOCATORS

KNOWN = {"version": "0.61.2", "problem": "", "kept": 9, "not_kept": {}}
UNKNOWN = {**KNOWN, "problem": "numba 0.70.0 is not one that trapd knows (AttributeError: x)"}


def findings(about: dict[str, Any] | None, setting: str = "auto") -> list[Finding]:
    settings = replace(SETTINGS, application=replace(SETTINGS.application, numba_cache=setting))
    return list(numba_cache(Facts(settings, SOUND | ({"numba": about} if about else {}), {})))


@pytest.mark.parametrize("about", [None, {**KNOWN, "version": ""}])
def test_an_application_without_numba_is_not_told_of_it(about: dict[str, Any] | None) -> None:
    assert findings(about) == []


def test_functions_that_cannot_be_kept_are_named() -> None:
    reason = "it uses dynamic globals (such as ctypes pointers and large global arrays)"
    kept, refused = findings({**KNOWN, "not_kept": {"pyse.fit": reason}})
    assert (kept.level, kept.what) == (OK, "numba 0.61.2: the workers keep 9 compiled functions")
    assert (refused.level, refused.what) == (WARNING, "numba compiles pyse.fit at each start")
    assert reason in refused.reason


@pytest.mark.parametrize(("setting", "level"), [("auto", OK), ("true", WARNING)])
def test_an_unknown_numba_has_no_cache_and_check_says_so(setting: str, level: str) -> None:
    (finding,) = findings(UNKNOWN, setting)
    assert finding.level == level
    assert "numba 0.61.2 compiles at each start: numba 0.70.0 is not one that trapd knows" in finding.what


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        (UNKNOWN["problem"], "install numba 0.61 or 0.68, which were tried"),
        (f"{NUMBA_LOCATORS} is set, so that numba does not ask trapd where its cache is", f"unset {NUMBA_LOCATORS}"),
    ],
)
def test_the_remedy_is_that_of_the_problem(problem: str, remedy: str) -> None:
    (finding,) = findings({**KNOWN, "problem": problem}, "true")
    assert finding.remedy == remedy


def test_a_cache_that_is_turned_off_is_told() -> None:
    (finding,) = findings(KNOWN, "false")
    assert (finding.level, "numba_cache is false" in finding.what) == (OK, True)
