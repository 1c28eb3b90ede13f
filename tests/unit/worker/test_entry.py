"""A start keeps what numba compiled if all of it went well, the smoke test too."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trapd.worker import entry, imports, numba_cache, output, report, sudden_exit
from trapd.worker.job import Job


class Worker:
    """In the place of Celery's, and of all before it that raises when the smoke test does."""

    def __init__(self, error: BaseException | None) -> None:
        if error:
            raise error

    def run(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("error", "status", "done"),
    [
        (None, 0, ["publish"]),
        (AssertionError("the numbers are wrong"), 70, ["abandon"]),
        (SystemExit(3), 70, ["abandon"]),
    ],
    ids=["all went well", "the smoke test failed", "the code ended the process"],
)
def test_a_start_that_fails_publishes_nothing_that_numba_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, status: int, done: list[str]
) -> None:
    seen: list[str] = []
    cache = SimpleNamespace(publish=lambda: seen.append("publish"), abandon=lambda: seen.append("abandon"))
    job: Any = SimpleNamespace(shared=tmp_path, generation=tmp_path, folders=[], packages=[], code=tmp_path)
    failure: Mapping[str, Any] = {"failure": {"detail": "the numbers are wrong"}}
    for place, name, value in (
        (Job, "parse", lambda arguments: job),
        (numba_cache, "wanted", lambda shared, environ: cache),
        (sudden_exit, "reported", lambda job: contextlib.nullcontext()),
        (report, "failure_report", lambda job, error: failure),
        (report, "write", lambda job, report: None),
        (imports, "put_first", lambda folders: None),
        (imports, "forget", lambda packages, code: []),
        (imports, "blind_finders", lambda packages, code: None),
        (output, "forgive", lambda: None),
        (entry, "drain_with_parent", lambda shared: None),
        (entry, "seal", lambda generation: None),
        (entry, "_program", lambda job: lambda *arguments: Worker(error)),
    ):
        monkeypatch.setattr(place, name, value)
    assert entry.main([]) == status
    assert seen == done
