"""What a user is told who may not read a file: who may, and how to become one of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from trapd import access
from trapd.errors import SettingsError
from trapd.settings import document

ALICE, GROUP = 65531, 65532  # numbers that no machine gives a name to
FILE = Path("/etc/trapd/celeryconfig.py")


def mode(bits: int, *, user: int = 0, group: int = GROUP) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | bits, 1, 1, 1, user, group, 0, 0, 0, 0))


def told(found: os.stat_result, *groups: int, bit: int = stat.S_IRGRP) -> access.Closed:
    return access.explain(FILE, found, bit, user=ALICE, groups=frozenset(groups))


def test_the_group_that_may_read_a_file_is_named_with_the_command_that_joins_it() -> None:
    shut = told(mode(0o640))
    assert (
        shut.reason
        == f"user {ALICE} may not read {FILE} (mode 0640), only user root and the members of group {GROUP} may"
    )
    assert f"usermod --append --groups {GROUP} {ALICE}" in shut.remedy


@pytest.mark.parametrize(
    ("found", "groups"),
    [(mode(0o600), ()), (mode(0o640, group=0), ()), (mode(0o640), (GROUP,)), (mode(0o010), ())],
    ids=["nobody else", "group root", "a member already", "other rights"],
)
def test_nobody_is_sent_into_a_group_that_does_not_help(found: os.stat_result, groups: tuple[int, ...]) -> None:
    shut = told(found, *groups)
    assert "usermod" not in shut.remedy
    assert shut.remedy == f"run this as root, or let user {ALICE} read it"


def test_a_closed_folder_above_the_file_is_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def access_of_others(path: Path, right: int, *, effective_ids: bool) -> bool:
        return path != tmp_path / "shut"

    monkeypatch.setattr(os, "access", access_of_others)
    (tmp_path / "shut").mkdir(mode=0o700)
    shut = access.closed(tmp_path / "shut/file")
    assert shut is not None
    assert shut.path == tmp_path / "shut"


def test_what_may_be_read_is_not_closed_nor_is_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert access.closed(tmp_path / "file") is None
    assert access.closed(tmp_path / "absent") is None


def test_a_configuration_that_is_closed_says_who_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(document, "closed", lambda file: told(mode(0o640)))
    with pytest.raises(SettingsError, match=f"only user root and the members of group {GROUP} may; join that group"):
        document.read(tmp_path / "trapd.toml")
