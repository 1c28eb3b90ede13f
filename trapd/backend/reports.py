"""Read the report file of a worker: the code that it has really loaded, or why it could not load it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapd.masking import mask
from trapd.model import CodeReport, Failure, FailureKind, LostChild, RemoteCommand, SetAside

_LIMIT = 1 << 20  # bytes; a report has a few hundred. Tasks can write these files too.


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's report file."""

    pid: int
    code: CodeReport
    failure: Failure | None  # with time 0: trapd does not take the time from the worker


def read(path: Path, pid: int) -> Report | None:
    """Return the report, if it is complete and of this process. Reads a file: call it off the loop."""
    # the last two are raised by a number without end, and by lists in lists in lists
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        document = _parse(content(path))
        return document if document.pid == pid else None
    return None


def content(path: Path) -> bytes:
    """Return the content of a plain file only: opening a pipe would wait for ever, and a link may lead to a file that
    the worker may not read. Raises OSError or ValueError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a plain file")
        return file.read(_LIMIT)


def _parse(text: bytes) -> Report:
    document = json.loads(text)
    versions = {str(name): str(version) for name, version in document["versions"].items()}
    strays = tuple(str(stray) for stray in document["strays"])
    # workers of an earlier trapd do not report these
    remote = tuple(
        RemoteCommand(mask(str(command["command"])), float(command["wall"])) for command in document.get("remote", ())
    )
    aside = tuple(
        SetAside(
            *(mask(str(one["task"])), str(one["queue"]), int(one["messages"]), float(one["since"])),
            *(mask(str(one.get("id", ""))), int(one.get("kills", 0))),
        )
        for one in document.get("aside", ())
    )
    slots = None if document.get("slots") is None else int(document["slots"])
    # names of distributions; nor that
    loaded, copied, replaced = (
        tuple(str(name) for name in document.get(key, ())) for key in ("loaded", "copied", "replaced")
    )
    code = CodeReport(
        int(document["generation"]),
        str(document["digest"]),
        versions,
        strays,
        remote,
        slots,
        loaded,
        copied,
        aside=aside,
        lost=tuple(_lost(one) for one in document.get("lost", ())),
        replaced=replaced,
    )
    failure = None
    if document["failure"]:
        summary, detail = str(document["failure"]["summary"]), str(document["failure"]["detail"])
        failure = Failure(FailureKind(document["failure"]["kind"]), mask(summary), mask(detail), 0.0)
    return Report(int(document["pid"]), code, failure)


def _lost(entry: Mapping[str, Any]) -> LostChild:
    task, id, how = (mask(str(entry[key])) for key in ("task", "id", "how"))
    return LostChild(task, id, how, float(entry["wall"]), entry["memory"] is True)
