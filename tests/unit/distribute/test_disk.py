"""What a disk refuses, and the lock of a file."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from trapd.distribute import disk


def failed(statement: str, database: str = ":memory:") -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as raised, sqlite3.connect(database) as connection:
        connection.execute(statement)
    return raised.value


def test_what_is_refused_is_told_and_what_is_wrong_in_the_program_is_not(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised:
        (tmp_path / "none/file").open("w")
    assert disk.refusal(raised.value) == f"No such file or directory: {tmp_path}/none/file"
    assert disk.refusal(OSError(28, "no space")) == "No space left on device"
    cannot_open = failed("select 1", str(tmp_path / "none/a.db"))
    assert disk.refusal(cannot_open) == "unable to open database file"
    by_sqlalchemy = cast("Exception", SimpleNamespace(orig=cannot_open))
    assert disk.refusal(by_sqlalchemy) == "unable to open database file"
    assert disk.refusal(failed("select x from nowhere")) == ""
    assert disk.refusal(OSError("the file is empty")) == ""
    assert disk.refusal(ValueError("no")) == ""


def test_a_lock_whose_file_its_holder_has_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next one, which makes the file again, would hold it too."""
    file = tmp_path / "lock"
    flock = fcntl.flock

    def late(handle: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        file.unlink()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with disk.alone(file) as mine:
        assert mine
        with disk.alone(file) as another:
            assert not another
    assert not file.exists()


def test_where_nobody_may_make_a_file_there_is_nothing_to_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete database in a folder that is read-only by now: the run says that it has it."""

    def closed(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", closed)
    with disk.alone(tmp_path / "lock") as mine:
        assert mine
