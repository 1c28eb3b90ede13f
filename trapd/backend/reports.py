"""Reads what a worker reports of itself in a file: the code it has really loaded, or why it could not load it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from trapd.masking import mask
from trapd.model import CodeReport, Failure, FailureKind, RemoteCommand

_LIMIT = 1 << 20  # bytes; a report has a few hundred. Tasks can write these files too.


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's report file."""

    pid: int
    code: CodeReport
    failure: Failure | None  # its time is not the worker's to say: 0


def read(path: Path, pid: int) -> Report | None:
    """The report, if it is whole and of this very process. Reads a file: call it off the loop."""
    # the last two: a number without end, lists in lists in lists
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        found = _parse(_content(path))
        return found if found.pid == pid else None
    return None


def _content(path: Path) -> bytes:
    """Of a plain file only: to open a pipe would wait for ever, and a link may lead to what is not theirs to show."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a plain file")
        return file.read(_LIMIT)


def _parse(text: bytes) -> Report:
    found = json.loads(text)
    versions = {str(name): str(version) for name, version in found["versions"].items()}
    strays = tuple(str(stray) for stray in found["strays"])
    # workers of an earlier trapd do not tell it
    remote = tuple(RemoteCommand(mask(str(one["command"])), float(one["wall"])) for one in found.get("remote", ()))
    slots = None if found.get("slots") is None else int(found["slots"])
    code = CodeReport(int(found["generation"]), str(found["digest"]), versions, strays, remote, slots)
    failure = None
    if found["failure"]:
        summary, detail = str(found["failure"]["summary"]), str(found["failure"]["detail"])
        failure = Failure(FailureKind(found["failure"]["kind"]), mask(summary), mask(detail), 0.0)
    return Report(int(found["pid"]), code, failure)
