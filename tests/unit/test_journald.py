"""The handler of log lines, on a socket that stands for journald's."""

from __future__ import annotations

import contextlib
import logging
import socket
from pathlib import Path

import pytest

from trapd.journald import JournalHandler


def test_a_line_that_cannot_be_written_is_not_the_trouble_of_who_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One with a mistake in its arguments once was: a pass of the controller, say, would have ended with it."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        contextlib.closing(JournalHandler(tmp_path / "journal")) as handler,
    ):
        journal.bind(str(tmp_path / "journal"))
        handler.handle(logging.LogRecord("trapd", logging.INFO, __file__, 1, "%d workers", ("two",), None))
        handler.handle(logging.LogRecord("trapd", logging.INFO, __file__, 1, "%d workers", (2,), None))
        assert journal.recv(1000).startswith(b"MESSAGE=2 workers\nPRIORITY=6\n")
    assert "%d workers" in capsys.readouterr().err
