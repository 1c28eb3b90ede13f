"""What the log of a worker looks like in the journal, and in a file."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from celery.app.defaults import DEFAULT_PROCESS_LOG_FMT, DEFAULT_TASK_LOG_FMT
from celery.utils.log import ColorFormatter

from trapd.worker import lines, log_format
from trapd.worker.log_format import Marking, mark_priorities


def record(level: int = logging.INFO, name: str = "celery.app.trace", error: bool = False) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord(name, level, "trace.py", 1, "the %s", ("message",), info)


def test_every_line_of_a_traceback_has_the_priority_of_its_record() -> None:
    text = Marking(logging.Formatter("%(message)s")).format(record(logging.ERROR, error=True))
    assert text.startswith("<3>the message\n<3>Traceback (most recent call last):\n<3>  File ")
    assert text.endswith("<3>ValueError: two\n<3>lines")


@pytest.mark.parametrize(
    ("level", "prefix"), [(10, "<7>"), (5, "<7>"), (20, "<6>"), (25, "<6>"), (30, "<4>"), (40, "<3>"), (50, "<2>")]
)
def test_priorities_are_those_of_syslog(level: int, prefix: str) -> None:
    assert Marking(logging.Formatter("%(message)s")).format(record(level)) == f"{prefix}the message"


def test_what_a_task_prints_has_the_default_priority() -> None:
    """Celery logs it as a warning."""
    assert Marking(logging.Formatter("%(message)s")).format(record(30, "celery.redirected")) == "the message"


@pytest.mark.parametrize(
    ("layout", "left"),
    [
        (DEFAULT_PROCESS_LOG_FMT, "[%(levelname)s/%(processName)s] %(message)s"),
        (DEFAULT_TASK_LOG_FMT, "[%(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"),
        ("%(asctime)s - %(name)s - %(message)s", "%(name)s - %(message)s"),
        ("[%(asctime)s] %(message)s", "%(message)s"),
        ("%(message)s", "%(message)s"),
    ],
)
def test_the_time_is_the_journals(layout: str, left: str) -> None:
    expected = logging.Formatter(left, validate=False)
    assert expected._fmt is not None
    inner = ColorFormatter(re.sub(r"\s+", " ", layout.strip()), use_color=False)
    Marking(inner)
    assert (inner._fmt, inner._style._fmt, inner.usesTime()) == (left, left, False)


@pytest.fixture
def logger() -> logging.Logger:
    """With a handler that leads to standard error, and one that does not."""
    found = logging.getLogger("tests.log_format")
    found.handlers = [logging.StreamHandler(sys.__stderr__), logging.StreamHandler(io.StringIO())]
    return found


@pytest.mark.parametrize("journal", [True, False])
def test_only_what_leads_to_the_journal_is_marked_and_only_once(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, journal: bool
) -> None:
    monkeypatch.setattr(log_format, "kept_by_journal", lambda: journal)
    monkeypatch.setattr(log_format, "_number", lambda stream: 2 if stream is sys.__stderr__ else None)
    before = [handler.formatter for handler in logging.root.handlers]
    mark_priorities()
    mark_priorities()
    marked = [handler.formatter for handler in logger.handlers]
    assert isinstance(marked[0], Marking) is journal
    assert marked[1] is None
    if isinstance(marked[0], Marking):
        assert not isinstance(marked[0]._inner, Marking)
    assert before == [handler.formatter for handler in logging.root.handlers]


def test_a_line_of_trapds_own_has_one_time_in_a_file_and_none_in_the_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.log_line("default@7-1 runs")
    monkeypatch.setattr(lines, "kept_by_journal", lambda: True)
    lines.log_line("cannot load the code\nTraceback", "ERROR")
    first, *more = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/MainProcess\] trapd-worker: default@7-1 runs", first
    )
    assert more == ["<3>trapd-worker: cannot load the code", "<3>Traceback"]
