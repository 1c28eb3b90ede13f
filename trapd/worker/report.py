"""What a worker says of itself in a file: the code it has really loaded, or why it could not load it."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

from trapd import atomic
from trapd.masking import mask
from trapd.worker.imports import strays
from trapd.worker.job import Job
from trapd.worker.lines import log_line
from trapd.worker.live import live

SUMMARY_LIMIT = 1000  # characters; what is longer is whole in the traceback
_WORKER = os.getpid()


class ConfigurationError(Exception):
    """The configuration or the application cannot be used; the message stands for itself."""


def code_report(job: Job, slots: int | None = None) -> dict[str, Any]:
    """The code as it is loaded now, in plain values. ``slots``: how many tasks the worker runs at a time."""
    return {
        "schema": 1,
        "instance": job.instance,
        "pid": os.getpid(),
        "generation": job.number,
        "digest": job.manifest["digest"],
        "versions": _versions(job),
        "strays": strays(job.packages, job.code, job.installed),
        "loaded": list(job.loaded.names),
        "copied": list(job.loaded.copied),
        "replaced": list(job.loaded.replaced),
        "live": live(str(job.generation), job.prefix),
        "remote": [],
        "aside": [],
        "lost": [],
        "slots": slots,
        "failure": None,
        "wall": time.time(),
    }


def ready_report(job: Job, slots: int | None = None) -> dict[str, Any]:
    """The code report of a worker that has loaded its code and is about to serve. Not for two threads at a time."""
    job.loaded.look()
    return code_report(job, slots)


def failure_report(job: Job, error: BaseException) -> dict[str, Any]:
    """The code report of a worker that could not load its code."""
    return _failed(job, "code", _summary(error), error)


def ending_report(job: Job, kind: str, summary: str, error: BaseException) -> dict[str, Any]:
    """The code report of a worker that something ends, in the midst of its work."""
    return _failed(job, kind, summary, error)


def one_line(text: str) -> str:
    """All of a message in one line, unless it is a very long one: pydantic and Django list what is wrong in lines."""
    words = " ".join(text.split())
    return words if len(words) <= SUMMARY_LIMIT else f"{words[: SUMMARY_LIMIT - 4]} ..."


def _failed(job: Job, kind: str, summary: str, error: BaseException) -> dict[str, Any]:
    failure = {"kind": kind, "summary": mask(summary), "detail": mask(_detail(error))}
    return {**code_report(job), "failure": failure}


def write(job: Job, report: dict[str, Any]) -> None:
    """Replace the report file in one step. A worker that cannot write it works all the same, and says so.

    Code that forks at its import goes on in a child as well: what that would report is nobody's.
    """
    if os.getpid() != _WORKER:
        return
    try:
        atomic.write(job.report_file, json.dumps(report), lasting=False)  # no reboot leaves the process
    except OSError as error:
        log_line(f"cannot write {job.report_file}: {error}", "ERROR")


def _versions(job: Job) -> dict[str, str]:
    """As the worker itself sees them; where it sees none, as the generation was recorded."""
    found = dict(job.manifest["versions"])
    for distribution in job.manifest["watched"]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[distribution] = metadata.version(distribution)
    return found


def _summary(error: BaseException) -> str:
    text = one_line(str(error))
    if isinstance(error, ConfigurationError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _detail(error: BaseException) -> str:
    """The traceback from where our own code was left."""
    here, trace = str(Path(__file__).parent), error.__traceback__
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(here):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))
