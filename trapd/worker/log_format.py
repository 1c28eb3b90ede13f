"""A worker's log, as whoever keeps it wants it.

Under systemd that is the journal, which knows the time of each line, and takes its priority from a prefix
(sd-daemon(3); SyslogLevelPrefix= of the unit): so no line carries a time, and every line of a record, of a traceback
too, carries the record's priority. In a file each record carries one time, as Celery has it. Lines that the
application prints stay as they are, and so they have the unit's default priority in the journal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from trapd.worker.lines import PRIORITY, kept_by_journal, marked

PRINTED = "celery.redirected"  # by this logger Celery logs what tasks print
# Each spelling of the time in logging's three styles, with what parts it from the next: "[%(asctime)s: %(message)s]".
_ASCTIME = r"(?:%\(asctime\)-?\d*s|\$\{asctime\}|\{asctime[^}]*\})"
_TIME = re.compile(rf"\[{_ASCTIME}\]\s*|{_ASCTIME}\s*[:,|-]?\s*")


def mark_priorities() -> None:
    """To be called once logging is set up, by Celery or by the application itself."""
    if kept_by_journal():
        for handler in _to_standard_streams():
            formatter = handler.formatter or logging.Formatter()
            if not isinstance(formatter, Marking):
                handler.setFormatter(Marking(formatter))


class Marking(logging.Formatter):
    """What another formatter makes of a record: without a time, and with its priority at the begin of each line."""

    def __init__(self, inner: logging.Formatter) -> None:
        """``inner`` is changed: it may be of any class, Celery's or the application's, and cannot be made anew."""
        super().__init__()
        self._inner = inner
        for holder in (inner, getattr(inner, "_style", None)):
            if isinstance(layout := getattr(holder, "_fmt", None), str):
                setattr(holder, "_fmt", _TIME.sub("", layout))  # noqa: B010 - of a class of whatever kind

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        if record.name == PRINTED:
            return text
        return marked(text, next((name for name in PRIORITY if record.levelno >= getattr(logging, name)), "DEBUG"))


def _to_standard_streams() -> Iterator[logging.Handler]:
    named = (logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger))
    for logger in (logging.root, *named):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and _number(handler.stream) in (1, 2):
                yield handler


def _number(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, TypeError, ValueError):
        return None
