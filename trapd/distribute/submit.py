"""Submit images to Trap's workers, a bounded number at a time, and gather the answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import DecodeError

from trapd.distribute.app import EXTRACT_SOURCES

POLL = 0.1  # s between looks at a result backend that sends no messages (files, databases)


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for one image. Times are seconds since the epoch, of the submitter's clock."""

    task: str
    image: str
    sent: float
    answered: float
    result: Mapping[str, Any] | None  # what the task returned: see trapd.distribute.tasks; None if the task failed
    error: str  # why there are no sources; empty if they were extracted


class Submitter:
    """Submits images one by one, and returns answers as they come. Use it from one thread.

    With ``task_always_eager`` (old name ``CELERY_ALWAYS_EAGER``) this process itself processes each image while it
    submits it. That needs Trap in this process: ModuleNotFoundError if it is not installed.
    """

    def __init__(self, app: Celery, *, options: Mapping[str, Any] | None = None) -> None:
        """``options`` go with every image to Trap's ``read_pyse_image``."""
        self.app = app
        self.options = dict(options or {})
        self._waiting: dict[str, tuple[AsyncResult, str, float]] = {}
        if app.conf.task_always_eager:
            app.loader.import_default_modules()  # registers the tasks: Celery ignores the setting for a mere name

    @property
    def waiting(self) -> int:
        """The number of images that were submitted and have no answer yet."""
        return len(self._waiting)

    def send(self, image: str) -> str:
        """Submit one image, under its absolute path; returns the task's id."""
        path, sent = str(Path(image).absolute()), time.time()
        result = self.app.signature(EXTRACT_SOURCES, args=(path,), kwargs=self.options).apply_async()
        if not self.app.conf.task_always_eager:
            self.app.backend.add_pending_result(result)
        self._waiting[result.id] = (result, image, sent)
        return str(result.id)

    def gather(self, timeout: float) -> list[Answer]:
        """Return the answers that came since the last call; wait up to ``timeout`` seconds for the first of them."""
        deadline = time.monotonic() + timeout
        while not (ready := self._ready()) and self._waiting and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
        now = time.time()
        return [self._answer(task, now) for task in ready]

    def _wait(self, left: float) -> None:
        backend = self.app.backend
        if backend.is_async:  # results arrive as messages; this assigns them to the pending results
            with contextlib.suppress(TimeoutError):
                backend.result_consumer.drain_events(timeout=left)
        else:
            time.sleep(min(POLL, left))

    def _ready(self) -> list[str]:
        return [task for task, (result, _, _) in self._waiting.items() if self._is_ready(result)]

    def _is_ready(self, result: AsyncResult) -> bool:
        if self.app.conf.task_always_eager:
            return True
        if self.app.backend.is_async:
            return bool(result.on_ready.ready)  # ``result.ready()`` would poll, beside the consumer
        try:
            return bool(result.ready())
        except (ValueError, DecodeError):  # Celery writes result files in place: this one is half written
            return False

    def _answer(self, task: str, now: float) -> Answer:
        result, image, sent = self._waiting.pop(task)
        value, failed = result.result, not result.successful()
        result.forget()
        if failed:
            return Answer(task, image, sent, now, None, f"cannot process {image}: {type(value).__name__}: {value}")
        return Answer(task, image, sent, now, value, value["error"] or "")


def extract(
    app: Celery,
    images: Iterable[str],
    *,
    in_flight: int = 64,
    progress: Callable[[int, int], None] | None = None,
    patience: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Answer]:
    """Submit ``images``, with never more than ``in_flight`` of them unanswered, and yield each answer as it comes.

    ``progress(sent, answered)`` is called after every change. Raises TimeoutError if no answer comes for ``patience``
    seconds (None: waits for ever).
    """
    submitter = Submitter(app, options=options)
    sent = answered = 0
    coming = iter(images)
    more = True
    last = time.monotonic()
    while more or submitter.waiting:
        while more and submitter.waiting < in_flight:
            if (image := next(coming, None)) is None:
                more = False
            else:
                submitter.send(image)
                sent += 1
                if progress:
                    progress(sent, answered)
        for answer in submitter.gather(1.0):
            answered, last = answered + 1, time.monotonic()
            if progress:
                progress(sent, answered)
            yield answer
        if patience is not None and time.monotonic() - last > patience:
            raise TimeoutError(f"cannot go on: no answer for {patience:.0f} s, {submitter.waiting} images unanswered")
