"""The line that says how far a run is."""

from __future__ import annotations

import errno
import io

import pytest

from trapd.distribute.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_time_left_is_that_of_images_that_were_really_extracted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    counts = Progress(io.StringIO())
    counts.begin(10)
    assert counts.line() == "0 of 10 images"
    counts.count(kept=True)
    assert counts.line() == "1 of 10 images, 1 from kept answers"
    now[0] += 20
    counts.count()
    counts.count(rejected=True)
    assert counts.line() == "3 of 10 images, 1 from kept answers, 1 REJECTED, 1m10s left"


def test_a_line_on_a_terminal_leaves_nothing_of_a_longer_one_before() -> None:
    out = Terminal()
    counts = Progress(out)
    counts._write("a long line", end="\r")
    counts.say("short")
    assert out.getvalue() == "a long line\rshort      \n"


class Gone(Terminal):
    """A terminal that was closed."""

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_a_run_goes_on_though_nobody_can_read_how_far_it_is() -> None:
    progress = Progress(Gone())
    progress.say("done")
    progress.show()
    progress.close()
