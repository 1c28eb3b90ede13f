"""What `trapctl check` says of what is installed, and of what a program finds around itself."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.unit.ctl.test_findings import SETTINGS, SOUND, wrong
from trapd.ctl import check
from trapd.ctl.findings import ERROR, OK, WARNING, Facts
from trapd.ctl.rules_paths import RULES

INSTALLED = {"version": "1.3.0", "kind": "recorded", "place": "/opt/app/lib/site-packages"}


def disk(**changes: Any) -> dict[str, Any]:
    return {**SOUND["disk"], **changes}


def said(**changes: Any) -> list[tuple[str, str]]:
    facts = Facts(SETTINGS, {"disk": disk(**changes)}, {})
    return [(one.level, one.what) for rule in RULES for one in rule(facts)]


def test_each_kind_of_installation_is_told_as_what_it_is() -> None:
    kinds = {
        "recorded": "trap 1.3.0 is installed for /opt/app/bin/python",
        "editable": "trap 1.3.0 is installed for /opt/app/bin/python, in editable mode",
        "plain": "trap is in /srv/site, without metadata; its version is not known",
    }
    for kind, words in kinds.items():
        assert said(distributions={"trap": {**INSTALLED, "kind": kind, "place": "/srv/site"}}) == [(OK, words)]


def test_what_the_watch_does_not_find_is_not_installed() -> None:
    absent = disk(
        distributions={}, state="broken", reason="trap cannot be found by /opt/app/bin/python; install it there"
    )
    assert wrong(disk=absent) == [(ERROR, "trap is not installed for /opt/app/bin/python")]


def test_what_the_watch_would_not_roll_out_is_named_with_its_own_reason() -> None:
    reason = "trap lies in the archive /srv/app.zip, and only files in folders can be copied and watched; unpack it"
    facts = Facts(SETTINGS, {"disk": disk(distributions={}, state="broken", reason=reason)}, {})
    [found] = [one for rule in RULES for one in rule(facts)]
    assert (found.what, found.remedy) == ("the installed code is broken, so it is not rolled out", "unpack it")
    assert found.reason.startswith("trap lies in the archive /srv/app.zip")
    assert said(state="unfinished", reason="pip is running (process 7)")[-1] == (
        ERROR,
        "the installed code is not finished, so it is not rolled out",
    )


def test_a_fault_of_the_celeryconfig_is_said_once_by_who_loads_it() -> None:
    reason = "cannot load /etc/trapd/celeryconfig.py:3: NameError"
    assert wrong(disk=disk(state="broken", reason=reason, problem=reason)) == []


def test_a_pinned_distribution_that_is_not_watched_is_a_warning() -> None:
    pin = {"by": "trap", "name": "radio-pyse", "version": "0.7"}
    assert wrong(disk=disk(pins=[pin])) == [(WARNING, "trap requires exactly radio-pyse 0.7, which is not watched")]


def test_code_on_pythonpath_that_workers_do_not_run_is_a_warning_with_setting_file_and_remedy() -> None:
    shadow = {"what": "workers do not run trap in /srv", "reason": "it has a reason", "remedy": "remove it"}
    facts = Facts(SETTINGS, {"disk": disk(shadows=[shadow])}, {})
    (found,) = [one for rule in RULES for one in rule(facts) if one.level != OK]
    assert (found.level, found.what) == (WARNING, "workers do not run trap in /srv")
    assert found.reason.startswith("it has a reason; plain `celery worker`, and this check, import")
    assert found.remedy == "in /etc/trapd/trapd.toml, remove it"


@pytest.mark.parametrize(("environment", "mounted_noexec"), [(True, True), (True, False), (False, True)])
def test_a_state_directory_that_no_shared_object_can_be_loaded_from_is_an_error(
    environment: bool, mounted_noexec: bool
) -> None:
    facts = Facts(SETTINGS, {"disk": disk(environment=environment), "noexec": mounted_noexec}, {})
    what = f"the file system of {SETTINGS.state_directory} is mounted with noexec"
    errors = [finding.what for rule in RULES for finding in rule(facts) if finding.level == ERROR]
    assert (what in errors) == (environment and mounted_noexec)


def test_a_program_that_looks_around_itself_is_warned_where_it_could_write() -> None:
    project = {"code": ["proj", "shop"], "climbing": ["proj/settings.py"], "writable": True, "left_out": []}
    link = "proj, shop in /srv/site is copied into each generation; everything else there is a link to it"
    warning = "proj/settings.py looks for files from __file__, and workers cannot make new files in /srv/site"
    assert said(projects={"/srv/site": project})[1:] == [(OK, link), (WARNING, warning)]
    assert said(projects={"/srv/site": {**project, "writable": False}})[1:] == [(OK, link)]
    assert said(projects={"/srv/site": {**project, "climbing": []}})[1:] == [(OK, link)]


def test_a_folder_with_code_that_is_read_live_is_named() -> None:
    project = {"code": ["proj"], "climbing": [], "writable": True, "left_out": ["apps"]}
    assert wrong(disk=disk(projects={"/srv/site": project})) == [
        (WARNING, "apps in /srv/site holds Python code that is neither copied nor watched")
    ]


def test_root_that_may_not_mount_is_a_warning() -> None:
    assert wrong(unsealed="cannot keep workers from it: no; be another user") == [
        (WARNING, "cannot keep workers from it: no")
    ]


def test_a_check_that_takes_its_time_says_what_it_does_to_a_log_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def timers() -> list[threading.Timer]:
        return [one for one in threading.enumerate() if isinstance(one, threading.Timer)]

    with check.announced("importing tasks:app ..."):
        assert len(timers()) == 1
    assert capsys.readouterr().err == "", "it did not take long"
    monkeypatch.setattr(check, "PATIENCE_OF_OTHERS", 0)
    with check.announced("importing tasks:app ..."):
        for timer in timers():
            timer.join()
        assert capsys.readouterr().err == "importing tasks:app ...\n"
