"""Digests that are kept from one copying to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trapd.generations import stamps

MARK = (6, 10**18, 10**18, 42)


def test_what_is_kept_is_read_back_whatever_a_file_is_called(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/site/\xff \n.py")
    stamps.keep(tmp_path / "stamps", [(odd, MARK, "d1"), ("/site/x.py", MARK, "d2")], before=2e9)
    assert stamps.read(tmp_path / "stamps") == {odd: (MARK, "d1"), "/site/x.py": (MARK, "d2")}


def test_of_a_file_that_had_just_changed_nothing_is_kept(tmp_path: Path) -> None:
    """Changed once more within the clock's resolution, it would look the same."""
    stamps.keep(tmp_path / "stamps", [("/site/x.py", MARK, "d")], before=1e9 + 0.01)
    assert stamps.read(tmp_path / "stamps") == {}


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b'["/x", "d"]\n', b"\xff\n"])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stamps").write_bytes(content)
    assert stamps.read(tmp_path / "stamps") == {}
    assert stamps.read(tmp_path / "missing") == {}


def test_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    stamps.keep(tmp_path / "missing/stamps", [("/site/x.py", MARK, "d")], before=2e9)
