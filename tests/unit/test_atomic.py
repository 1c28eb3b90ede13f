"""A file is replaced in one step, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trapd import atomic


def test_a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "boot"
    path.write_text("old")
    atomic.write(path, "née\n", mode=0o640)
    assert path.read_text("utf-8") == "née\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["boot"]  # noqa: PTH208


def test_what_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "boot"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["boot"]  # noqa: PTH208


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    path = tmp_path / "boot"
    real = os.fsync

    def noted(number: int) -> None:
        seen.append((os.path.isdir(f"/proc/self/fd/{number}"), path.exists()))  # noqa: PTH112
        real(number)

    monkeypatch.setattr(os, "fsync", noted)
    atomic.write(path, "new")
    assert seen == [(False, False), (True, True)]
    atomic.write(path, "newer", lasting=False)
    assert len(seen) == 2
