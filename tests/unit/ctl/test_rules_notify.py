"""Who is to be told of events has to be there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trapd.ctl.findings import ERROR, OK
from trapd.ctl.rules_notify import findings
from trapd.settings import load
from trapd.spec import Notify


@pytest.mark.parametrize(
    ("backend", "notify", "levels", "words"),
    [
        ("systemd", Notify(), [], ""),
        ("embedded", Notify(command=(sys.executable, "-c", "")), [], ""),
        ("embedded", Notify(command=("/nowhere/mail",)), [ERROR], "/nowhere/mail is no program that can be run"),
        ("embedded", Notify(unit="mail"), [ERROR], "systemd does not run the workers"),
        ("systemd", Notify(unit="pager"), [ERROR], "there is no trapd-notify-pager@.service"),
        ("systemd", Notify(unit="mail"), [OK], "events start trapd-notify-mail@.service"),
    ],
)
def test_what_is_missing_is_found(tmp_path: Path, backend: str, notify: Notify, levels: list[str], words: str) -> None:
    (tmp_path / "trapd-notify-mail@.service").touch()
    file = tmp_path / "trapd.toml"
    file.write_text(f'[trapd]\nbackend = "{backend}"\n')
    file.chmod(0o644)
    found = list(findings(replace(load(file), notify=notify), [tmp_path]))
    assert [finding.level for finding in found] == levels
    assert words in "".join(finding.what for finding in found)
