"""What cannot be written is lost, and ends nobody."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from trapd.worker import lines, output


def test_a_file_without_room_takes_everything() -> None:
    with io.TextIOWrapper(io.BufferedWriter(output.Forgiving("/dev/full", "w")), encoding="utf-8") as stream:
        for _ in range(3):
            print("x" * 100_000, file=stream, flush=True)


def test_a_file_with_room_keeps_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, file)
            monkeypatch.setattr(sys, f"__{name}__", file)
        output.forgive()
        print("out", flush=True)
        print("error", file=sys.stderr, flush=True)
        assert sys.stdout is sys.__stdout__ is not file
    assert (tmp_path / "log").read_text() == "out\nerror\n"


def test_what_an_unbuffered_python_prints_is_in_the_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.FileIO(tmp_path / "log", "w")
    with io.TextIOWrapper(raw, encoding="utf-8", write_through=True) as file:  # as PYTHONUNBUFFERED makes it
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, file)
            monkeypatch.setattr(sys, f"__{name}__", file)
        output.forgive()
        print("out")
        assert (tmp_path / "log").read_text() == "out\n"


def test_what_is_no_file_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, f"__{name}__", None)
    output.forgive()
    assert sys.stderr is stream


def test_a_line_of_ours_that_cannot_be_written_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        lines.log_line("no room")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.close()
