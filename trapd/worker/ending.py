"""Why Celery's worker ends although nobody told it to.

Celery catches what its consumer raised, writes it to the log, lets running tasks end and leaves with status 1. So a
lost broker and a fault of the code look alike from outside. RabbitMQ closes the channel of a worker that holds a
message for longer than ``consumer_timeout`` (30 minutes by default); plain Celery ends then as well (5.7, tried on
RabbitMQ 3.10.8 with late acknowledgement, with a message in reserve behind a long early one, and with an eta).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from celery.exceptions import OperationalError

from trapd.worker.report import one_line

_HELD_TOO_LONG = re.compile(r"delivery acknowledgement on channel \d+ timed out")
_TIMEOUT = re.compile(r"Timeout value used: (\d+) ms")


class Ending(NamedTuple):
    """``kind``: of the failure, as trapd's model has it. ``summary``: one line. ``error``: what was raised."""

    kind: str
    summary: str
    error: BaseException


def watch(worker: Any, noted: Callable[[Ending], None]) -> None:
    """Call ``noted`` in the moment in which something ends the worker, before it lets its running tasks end."""
    start = worker.blueprint.start

    def watched(parent: Any) -> None:
        try:
            start(parent)
        except SystemExit as error:  # of Celery: the ordinary end, unless it gives up because of something
            if error.__cause__ is not None:
                noted(explain(error.__cause__, _of_the_connection(worker)))
            raise
        except Exception as error:
            noted(explain(error, _of_the_connection(worker)))
            raise

    worker.blueprint.start = watched


def _of_the_connection(worker: Any) -> tuple[type[BaseException], ...]:
    return (OperationalError, *getattr(worker.consumer, "connection_errors", ()))


def explain(error: BaseException, of_the_connection: tuple[type[BaseException], ...]) -> Ending:
    """What has ended it, in words."""
    text = one_line(str(error))
    if _HELD_TOO_LONG.search(text):
        found = _TIMEOUT.search(text)
        limit = f" = {int(found[1]) / 1000:.15g} s" if found else ""
        summary = (
            f"RabbitMQ closed its channel (PRECONDITION_FAILED): what it ran or held in reserve was not acknowledged "
            f"within consumer_timeout{limit}"
        )
        return Ending("broker", summary, error)
    what = "lost its broker" if isinstance(error, of_the_connection) else "Celery gave up"
    return Ending("crash", f"{what}: {type(error).__name__}: {text}", error)
