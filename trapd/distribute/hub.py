"""One thread talks to Celery for all threads of a run: each of those waits for the answer to its own request."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from concurrent.futures import Future, InvalidStateError

from celery import Celery

from trapd.distribute import away
from trapd.distribute.endings import RunError, UnreachableError
from trapd.distribute.submit import ATTEMPTS, PATIENCE, Answer, Request, Submitter
from trapd.sizes import counted

log = logging.getLogger("trapd.distribute")

LOOK = 0.1  # s; a request waits so long at most before it is sent, while answers are waited for
FEW = 3  # images that are given up one after the other because no answer came; for more of them the run ends


class Hub:
    """Sends requests, and sends them again where that may help. Use ``ask`` from any thread, until ``close``."""

    def __init__(self, app: Celery, *, queue_name: str | None = None, patience: float = PATIENCE) -> None:
        """``queue_name``: where tasks are sent to; None is Celery's default queue. ``patience``: seconds without any
        answer, after which requests are sent again, three times in all."""
        self.app = app
        self._queue_name, self._patience = queue_name, patience
        self._inbox: queue.SimpleQueue[tuple[Request, Future[Answer]] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)

    def reach(self) -> None:
        """Raise UnreachableError if there is no broker, RunError if results cannot be read, before anything that takes
        long."""
        if self.app.conf.task_always_eager:
            return
        try:
            self.app.backend  # noqa: B018 - Celery makes it now, and SQLAlchemy looks for the driver
        except ImportError as error:
            raise RunError(f"cannot use result_backend: {error}; install that for {sys.executable}") from error
        connection = self.app.connection_for_write()
        where = connection.as_uri()  # without the password
        try:
            with connection:
                connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=10)
        except away.errors(self.app) as error:
            raise UnreachableError(f"cannot reach the broker {where}: {error}; see whether it runs") from error

    def start(self) -> None:
        self._thread.start()

    def ask(self, request: Request) -> Answer:
        """Return the answer, whenever it comes. Raises UnreachableError, and whatever ended this hub."""
        future: Future[Answer] = Future()
        self._inbox.put((request, future))
        if self._closed.is_set():  # the thread may not have seen it any more
            self._fail(future)
        return future.result()

    def close(self, problem: BaseException | None = None) -> None:
        """Revoke what waits, forget its results, and wake everybody who waits. Takes up to 12 s."""
        if self._problem is None:
            self._problem = problem
        self._closed.set()
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        waiting: dict[int, Future[Answer]] = {}  # by the identity of the request
        submitter = None
        try:
            submitter = Submitter(self.app, queue=self._queue_name)
            self._serve(submitter, waiting)
        except away.errors(self.app) as error:
            self._problem = UnreachableError(
                f"cannot go on: {away.where(self.app)} does not answer: {away.why(error)}; see whether it runs, and "
                "type the same command again: it goes on from the answers so far"
            )
            submitter = None  # what waits cannot be revoked
        except self.app.connection_for_write().channel_errors as error:  # 403 and 404 of RabbitMQ
            where = f"the queue {self._queue_name}" if self._queue_name else "Celery's default queue"
            self._problem = RunError(
                f"cannot send tasks to {where}: {away.why(error)}; name a queue that workers read and to which your "
                "account may send (--queue, or in your celeryconfig as docs/users.md shows)"
            )
        except BaseException as error:
            self._problem = error
        self._closed.set()
        self._wake(waiting)  # before the results are removed, which takes seconds
        if submitter and (late := submitter.withdraw()):
            log.warning("%s may still be processed, and results kept until they expire", counted(late, "image"))
        self._wake(waiting)

    def _wake(self, waiting: dict[int, Future[Answer]]) -> None:
        for future in waiting.values():
            self._fail(future)
        with contextlib.suppress(queue.Empty):
            while True:
                entry = self._inbox.get_nowait()
                if entry:
                    self._fail(entry[1])

    def _fail(self, future: Future[Answer]) -> None:
        with contextlib.suppress(InvalidStateError):
            future.set_exception(self._problem or UnreachableError("the run ends"))

    def _serve(self, submitter: Submitter, waiting: dict[int, Future[Answer]]) -> None:
        last, lost = time.monotonic(), FEW  # images given up since the last answer; FEW: none has come yet
        while not self._closed.is_set():
            requests = self._requests(wait=not waiting)
            waiting |= {id(request): future for request, future in requests}  # all: the first may end the run
            for request, _ in requests:
                submitter.ask(request)
            if not waiting:
                last = time.monotonic()
                continue
            if answers := submitter.gather(LOOK):
                last, lost = time.monotonic(), 0
            elif time.monotonic() - last > self._patience:
                answers, last = submitter.look_again(), time.monotonic()
                lost += len(answers)
            if lost > FEW:  # then it is not the images, but the workers
                raise UnreachableError(
                    f"cannot go on: no answer for {ATTEMPTS * self._patience:.0f} s, "
                    f"{counted(len(waiting), 'image')} unanswered; see with `trapctl status` whether workers are ready"
                )
            for answer in answers:
                waiting.pop(id(answer.request)).set_result(answer)

    def _requests(self, wait: bool) -> list[tuple[Request, Future[Answer]]]:
        """Return what is to be sent; ``wait`` for the first of it."""
        entries = []
        with contextlib.suppress(queue.Empty):
            entries.append(self._inbox.get(timeout=1.0) if wait else self._inbox.get_nowait())
            while True:
                entries.append(self._inbox.get_nowait())
        return [entry for entry in entries if entry]
