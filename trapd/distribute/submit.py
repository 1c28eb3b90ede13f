"""Submit images to Trap's workers, a bounded number at a time, and gather the answers."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from celery import Celery
from celery.backends.base import BaseKeyValueStoreBackend
from celery.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError
from celery.result import AsyncResult
from celery.states import READY_STATES
from kombu.exceptions import DecodeError, OperationalError

from trapd.distribute import away, queues
from trapd.distribute.app import EXTRACT_SOURCES
from trapd.sizes import counted

log = logging.getLogger("trapd.distribute")

Fault = Literal["", "image", "machine"]

POLL = 0.1  # s between looks at a result backend that sends no messages (files, databases)
ATTEMPTS = 3  # how many times an image is sent, if the machine and not the image is at fault
PATIENCE = 600.0  # s without any answer, after which answers may be lost: longer than a rollout of Trap takes
LINGER = 10.0  # s for the images that workers process when the submitter gives up
# What a task ends with although its image may be good: its process was killed; a time limit, or drain_timeout of trapd,
# interrupted it; or (the last one) the broker was away for longer than the 4 s for which a worker's process tries to
# send an answer by rpc://; the worker says so when the broker is back. A shorter absence can lose an answer without a
# word, which `look_again` is for (Celery 5.7: tests/process/test_results_kept.py). TaskRevokedError is none of them:
# somebody does not want this task.
_LOST = (WorkerLostError, SoftTimeLimitExceeded, TimeLimitExceeded, Terminated, OperationalError)
QUIET = 2.0  # s without a new result of a revoked task: by then a worker that is not busy has discarded the tasks


@dataclass(frozen=True, slots=True)
class Request:
    """One task about one image."""

    image: str  # as the submitter names it in answers
    task: str  # the task's registered name
    args: tuple[Any, ...]
    options: Mapping[str, Any]  # the task's keyword arguments


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for one image. Times are seconds since the epoch, of the submitter's clock."""

    task: str
    image: str
    sent: float
    answered: float
    result: Mapping[str, Any] | None  # what the task returned: see trapd.distribute.tasks; None if the task failed
    error: str  # why there are no sources; empty if they were extracted
    # "image": Trap cannot use the image. "machine": a process was killed, a time limit, a lost answer, a revoked task;
    # the image may be good.
    fault: Fault = ""
    attempts: int = 1  # how many times the image was sent
    request: Request | None = None  # the one that it answers


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request without an answer."""

    result: AsyncResult
    request: Request
    sent: float  # seconds since the epoch, the first time
    attempts: int = 1

    @property
    def image(self) -> str:
        return self.request.image

    def answer(self, task: str, answered: float, result: Mapping[str, Any] | None, error: str, fault: Fault) -> Answer:
        return Answer(task, self.image, self.sent, answered, result, error, fault, self.attempts, self.request)


class Submitter:
    """Submits images one by one, and returns answers as they come. Use it from one thread.

    With ``task_always_eager`` (old name ``CELERY_ALWAYS_EAGER``) this process itself processes each image while it
    submits it. That needs Trap in this process: ModuleNotFoundError if it is not installed.
    """

    def __init__(self, app: Celery, *, options: Mapping[str, Any] | None = None, queue: str | None = None) -> None:
        """``options`` go with every image to Trap's ``read_pyse_image``. ``queue``: None is Celery's default queue."""
        self.app = app
        self.options = dict(options or {})
        self._queue = {} if queue is None else {"queue": queues.named(app, queue)}
        self._waiting: dict[str, _Waiting] = {}
        if app.conf.task_always_eager:
            app.loader.import_default_modules()  # registers the tasks: Celery ignores the setting for a mere name

    @property
    def waiting(self) -> int:
        """The number of images that were submitted and have no answer yet."""
        return len(self._waiting)

    def send(self, image: str) -> str:
        """Submit one image, under its absolute path; returns the task's id."""
        path = str(Path(image).absolute())
        return self.ask(Request(image, EXTRACT_SOURCES, (path,), self.options))

    def ask(self, request: Request) -> str:
        """Submit a task about an image; returns the task's id."""
        sent = time.time()
        result = self._submit(request)
        self._waiting[str(result.id)] = _Waiting(result, request, sent)
        return str(result.id)

    def _submit(self, request: Request, **options: Any) -> AsyncResult:
        signature = self.app.signature(request.task, args=request.args, kwargs=request.options)
        result = signature.apply_async(**options, **self._queue)
        if not self.app.conf.task_always_eager:
            self.app.backend.add_pending_result(result)
        return result

    def gather(self, timeout: float) -> list[Answer]:
        """Return the answers that came since the last call; wait up to ``timeout`` seconds for the first of them."""
        deadline = time.monotonic() + timeout
        while not (ready := self._ready()) and self._waiting and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
        now = time.time()
        return [answer for task in ready if (answer := self._answer(task, now))]

    def look_again(self) -> list[Answer]:
        """Look for what got lost: an answer in the result backend, else the image is sent again under the same id.

        Extracting an image twice is harmless. An image that was sent three times is given up; returns the answers that
        say so.
        """
        given_up = []
        for task, waiting in list(self._waiting.items()):
            if self._is_stored(waiting.result):
                continue
            if waiting.attempts < ATTEMPTS:
                self._submit(waiting.request, task_id=task)
                self._waiting[task] = replace(waiting, attempts=waiting.attempts + 1)
                continue
            del self._waiting[task]
            _forget(waiting.result)
            words = (
                f"cannot process {waiting.image}: it was sent {counted(waiting.attempts, 'time')} and no answer came"
            )
            answer = waiting.answer(task, time.time(), None, words, "machine")
            given_up.append(answer)
        if given_up:
            self._revoke([answer.task for answer in given_up])
        return given_up

    def withdraw(self, linger: float = LINGER) -> int:
        """Revoke the images that wait for a worker, and remove the results of all that have no answer.

        Waits up to ``linger`` seconds for the images that are being processed: a result that is stored later stays in
        the result backend until it expires there. Returns the number of those.
        """
        if not self._waiting:
            return 0
        deadline, reached = time.monotonic() + linger, True
        tasks = list(self._waiting)
        try:
            self._revoke(tasks)
            while self._waiting and (left := deadline - time.monotonic()) > 0:
                self._wait(min(left, 1.0))
                for task in self._ready():
                    _forget(self._waiting.pop(task).result)
            self._sweep(tasks, deadline)
        except away.errors(self.app) as error:  # nobody is there to take the results back
            log.warning("cannot remove the results of %s: %s", counted(len(self._waiting), "image"), error)
            reached = False
        finally:  # also at a second Ctrl-C
            late = len(self._waiting)
            for waiting in self._waiting.values() if reached else ():
                _forget(waiting.result)
            self._waiting.clear()
        return late

    def _sweep(self, tasks: list[str], deadline: float) -> None:
        """Remove results that come after a result: Celery 5.7 stores one when it hears that a task is revoked, and one
        more when it takes the task from its queue and discards it."""
        results = self.app.backend
        if not isinstance(results, BaseKeyValueStoreBackend):
            return
        quiet = time.monotonic()
        while (now := time.monotonic()) < deadline and now - quiet < QUIET:
            time.sleep(POLL)
            for task in tasks:
                with contextlib.suppress(ValueError, DecodeError, FileNotFoundError):  # a file that is being written
                    if results.get_task_meta(task, cache=False)["status"] in READY_STATES:
                        results.forget(task)
                        quiet = time.monotonic()

    def _revoke(self, tasks: list[str]) -> None:
        """Tell the workers that are there now; a broker keeps no such message for those that come later."""
        try:
            self.app.control.revoke(tasks)
        except (OSError, OperationalError, *self.app.connection_for_write().channel_errors) as error:  # the last: 403
            log.warning("cannot revoke %s: %s", counted(len(tasks), "image"), error)

    def _is_stored(self, result: AsyncResult) -> bool:
        """Whether the answer is in the result backend, and only the message about it was lost; it is taken then."""
        backend = self.app.backend
        if not (backend.is_async and isinstance(backend, BaseKeyValueStoreBackend)):
            return False  # others have no store beside the messages, or `_is_ready` reads it
        meta = backend.get_task_meta(result.id, cache=False)
        if meta["status"] not in READY_STATES:
            return False
        backend.result_consumer.on_state_change(meta, None)
        return True

    def _wait(self, left: float) -> None:
        backend = self.app.backend
        if backend.is_async:  # results arrive as messages; this assigns them to the pending results
            try:
                backend.result_consumer.drain_events(timeout=left)
            except TimeoutError:
                pass
            except RuntimeError as error:  # Celery has tried to connect again to Redis, in vain
                if not isinstance(error.__cause__, away.errors(self.app)):
                    raise
                raise OperationalError(str(error.__cause__)) from error
        else:
            time.sleep(min(POLL, left))

    def _ready(self) -> list[str]:
        return [task for task, waiting in self._waiting.items() if self._is_ready(waiting.result)]

    def _is_ready(self, result: AsyncResult) -> bool:
        if self.app.conf.task_always_eager:
            return True
        if self.app.backend.is_async:
            return bool(result.on_ready.ready)  # ``result.ready()`` would poll, beside the consumer
        try:
            return bool(result.ready())
        except (ValueError, DecodeError):  # Celery writes result files in place: this one is half written
            return False

    def _answer(self, task: str, now: float) -> Answer | None:
        """None: the machine failed and not the image, which was sent again."""
        waiting = self._waiting.pop(task)
        value, failed = waiting.result.result, not waiting.result.successful()
        _forget(waiting.result)
        image, attempts = waiting.image, waiting.attempts
        lost = isinstance(value, _LOST) if failed else bool(value.get("machine"))
        if lost and attempts < ATTEMPTS:
            result = self._submit(waiting.request)  # under a new id: the old one has failed for everybody who knows it
            self._waiting[str(result.id)] = replace(waiting, result=result, attempts=attempts + 1)
            return None
        if not failed:
            fault: Fault = "machine" if lost else "image" if value["error"] else ""
            return waiting.answer(task, now, value, value["error"] or "", fault)
        words = f"cannot process {image}: {type(value).__name__}: {value}"
        if attempts > 1:
            words += f"; it was sent {counted(attempts, 'time')}"
        return waiting.answer(task, now, None, words, "machine")


def _forget(result: AsyncResult) -> None:
    """Remove the result from the backend, if the backend has it."""
    with contextlib.suppress(FileNotFoundError):  # of files; a failed task may have none, other backends do not mind
        result.forget()


def extract(
    app: Celery,
    images: Iterable[str],
    *,
    in_flight: int = 64,
    progress: Callable[[int, int], None] | None = None,
    patience: float | None = PATIENCE,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Answer]:
    """Submit ``images``, with never more than ``in_flight`` of them unanswered, and yield each answer as it comes.

    ``progress(sent, answered)`` is called after every change. If no answer comes for ``patience`` seconds the images
    without an answer are sent again; when they were sent three times their answers say that they are given up. Raises
    TimeoutError if there was no answer at all in the time of two such rounds, or since the beginning (``patience``
    None: waits for ever). Whenever the caller stops, also by Ctrl-C, the images that wait are revoked.
    """
    submitter = Submitter(app, options=options)
    try:
        yield from _extract(submitter, images, in_flight, progress, patience)
    finally:
        if late := submitter.withdraw():
            log.warning("%s may still be processed, and results kept until they expire", counted(late, "image"))


def _extract(
    submitter: Submitter,
    images: Iterable[str],
    in_flight: int,
    progress: Callable[[int, int], None] | None,
    patience: float | None,
) -> Iterator[Answer]:
    sent = answered = answered_before = 0
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
        if patience is None or time.monotonic() - last <= patience:
            continue
        last = time.monotonic()
        if given_up := submitter.look_again():
            if answered == answered_before:
                raise TimeoutError(
                    f"cannot go on: no answer for {ATTEMPTS * patience:.0f} s, {counted(sent - answered, 'image')} "
                    "unanswered; see with `trapctl status` whether workers are ready"
                )
            answered_before = answered = answered + len(given_up)
            if progress:
                progress(sent, answered)
            yield from given_up
