"""Code that calls ``os._exit`` at its import ends the worker without a word: so the call is reported first."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import NoReturn

from trapd.worker import report
from trapd.worker.job import Job
from trapd.worker.lines import log_line


@contextlib.contextmanager
def reported(job: Job) -> Iterator[None]:
    """While the application is imported. A child that was forked meanwhile may exit as it likes."""
    end, worker = os._exit, os.getpid()

    def exit_with_a_word(status: int) -> NoReturn:
        if os.getpid() == worker:
            caller = sys._getframe(1)
            module = caller.f_globals.get("__name__", caller.f_code.co_filename)
            place = f"{module}, line {caller.f_lineno}"
            error = report.ConfigurationError(f"os._exit({status}) was called in {place}").with_traceback(
                _stack(caller)
            )
            failure = report.failure_report(job, error)
            report.write(job, failure)
            log_line(f"cannot load the code\n{failure['failure']['detail']}".rstrip(), "ERROR")
        end(status)

    os._exit = exit_with_a_word
    try:
        yield
    finally:
        os._exit = end


def _stack(frame: FrameType | None) -> TracebackType | None:
    """The calls that led to this frame, as the traceback of an error that was raised there."""
    trace = None
    while frame:
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno)
        frame = frame.f_back
    return trace
