"""Count the tally in the callbacks of Celery's requests, which run in the main process in every Celery pool.

The signals of a running task fire in the process that runs it, a child of the pool, so they are of no use here. The
main process learns of a start and of each end by the request's own methods, because it acknowledges the message and
writes the log there. Celery derives a class of requests for each task (``create_request_cls``); trapd derives one more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import Any

from celery import bootsteps, signals
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError, Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker import state, strategy
from celery.worker.request import ExceptionWithTraceback

from trapd.worker.queues import Queues
from trapd.worker.receipt import Receipt
from trapd.worker.tally import Run, Tally

log = get_logger("trapd.worker")


def install(tally: Tally, killed: Callable[[str, str, str], None], receipt: Receipt) -> None:
    """Count from now on. Before the consumer is made. ``killed`` hears of each task, by id and name, whose process was
    killed, with Celery's words, before its message goes back; ``receipt`` of each that ends in a drain."""
    make = getattr(strategy, "create_request_cls", None)
    if make is None:  # one of Celery's inner parts
        log.error("cannot count tasks: this Celery makes its requests in another way")
        return
    gone: set[str] = set()  # ids whose end was counted before Celery announced that they were terminated

    def create_request_cls(base: Any, task: Any, *arguments: Any, **options: Any) -> Any:
        made = _watched(make(base, task, *arguments, **options), task.name, killed)
        made = _receipted(_counted(made, task.name, tally, gone), receipt)
        pool = arguments[0] if arguments else options.get("pool")
        kind = type(pool).__module__.rpartition(".")[2]
        left = _LEFT.get(kind)
        if left is None:
            return _handed_over(made) if kind == "prefork" else made
        return _revocable(made, receipt, left)

    def revoked(sender: Any, request: Any, **_: Any) -> None:
        if request.id in gone:
            gone.discard(request.id)
            return
        for run in tally.running():
            if run.request is not None and run.request.id == request.id:
                tally.revoked(run, monotonic() - run.began)
                return
        tally.discarded(sender.name)

    strategy.create_request_cls = create_request_cls
    signals.task_revoked.connect(revoked, weak=False)


def _watched(base: Any, name: str, killed: Callable[[str, str, str], None]) -> Any:
    class Watched(base):  # type: ignore[misc]
        def on_failure(self, exc_info: Any, *arguments: Any, **options: Any) -> Any:
            error = _raised(exc_info)
            if isinstance(error, WorkerLostError) and state.should_terminate is None:
                killed(self.id, name, str(error))
            return super().on_failure(exc_info, *arguments, **options)

    return Watched


def _counted(base: Any, name: str, tally: Tally, gone: set[str]) -> Any:
    class Counted(base):  # type: ignore[misc]
        trapd_run: Run | None = None

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.trapd_retrial = tally.received(name)
            super().__init__(*arguments, **options)

        def on_accepted(self, pid: int, time_accepted: float) -> Any:
            self.trapd_run = run = _begun(name, self, time_accepted)
            tally.started(self.id, run)
            return super().on_accepted(pid, time_accepted)

        def on_success(self, failed__retval__runtime: Any, **options: Any) -> Any:
            failed, _, seconds = failed__retval__runtime
            if not failed and (run := self.trapd_run) is not None:
                if seconds is not None:
                    tally.succeeded(run, seconds)
                else:  # a greenlet was killed: Celery calls that a success, and announces the revoke afterwards
                    tally.revoked(run, monotonic() - run.began)
                    gone.add(self.id)
            return super().on_success(failed__retval__runtime, **options)

        def on_failure(self, exc_info: Any, *arguments: Any, **options: Any) -> Any:
            run, error = self.trapd_run, _raised(exc_info)
            terminated = isinstance(error, Terminated)
            if run is not None and not terminated:
                _end(tally, run, error)
            try:
                return super().on_failure(exc_info, *arguments, **options)
            finally:
                if run is not None and terminated:  # a revoke was announced just now, or the connection was lost
                    tally.withdrawn(run, monotonic() - run.began)

        def on_timeout(self, soft: bool, timeout: float) -> Any:
            if not soft and (run := self.trapd_run) is not None:
                tally.failed(run, monotonic() - run.began, TimeLimitExceeded.__name__)
            return super().on_timeout(soft, timeout)

    return Counted


def _receipted(base: Any, receipt: Receipt) -> Any:
    class Receipted(base):  # type: ignore[misc]
        trapd_back = False  # its message goes back to the broker

        def reject(self, requeue: bool = False) -> Any:
            self.trapd_back = requeue
            return super().reject(requeue=requeue)

        def on_success(self, failed__retval__runtime: Any, **options: Any) -> Any:
            try:
                return super().on_success(failed__retval__runtime, **options)
            finally:
                self._trapd_ended()

        def on_failure(self, exc_info: Any, *arguments: Any, **options: Any) -> Any:
            try:
                return super().on_failure(exc_info, *arguments, **options)
            finally:
                self._trapd_ended()

        def on_timeout(self, soft: bool, timeout: float) -> Any:
            result = super().on_timeout(soft, timeout)
            if not soft:
                self._trapd_ended()
            return result

        def _trapd_ended(self) -> None:
            if receipt.due:
                receipt.ended(self, back=self.trapd_back)

    return Receipted


def _revocable(base: Any, receipt: Receipt, left: Callable[[str], BaseException]) -> Any:
    """Celery asks whether a task is revoked when it hands the task to its pool. In a pool of threads or greenlets it
    may wait there for as long as other tasks run, and would run although it was revoked meanwhile."""

    class Revocable(base):  # type: ignore[misc]
        def on_accepted(self, pid: int, time_accepted: float) -> Any:
            """Called in the thread or greenlet that is about to run the task."""
            if self.id in state.revoked and self.revoked():
                if receipt.due:
                    receipt.ended(self, back=False)
                raise left(self.id)
            return super().on_accepted(pid, time_accepted)

    return Revocable


def _handed_over(base: Any) -> Any:
    """Processes ask nobody any more. With an event loop a task is handed to one that is free, elsewhere before that."""

    class HandedOver(base):  # type: ignore[misc]
        trapd_handed = False

        def execute_using_pool(self, *arguments: Any, **options: Any) -> Any:
            self.trapd_handed = True
            return super().execute_using_pool(*arguments, **options)

    return HandedOver


def _greenlet_left(id: str) -> BaseException:
    from greenlet import GreenletExit  # where the pool is one of greenlets it is there

    left: BaseException = GreenletExit(id)
    return left


# by Celery pool: what ends the thread's or greenlet's part in a task, so that nobody prints a traceback
_LEFT: Mapping[str, Callable[[str], BaseException]] = {
    "thread": TaskRevokedError,
    "gevent": _greenlet_left,
    "eventlet": _greenlet_left,
}


def _begun(name: str, request: Any, accepted: float) -> Run:
    now = monotonic()
    began = min(accepted, now)  # Celery may give the time of the day for a task that it puts back
    run = Run(name, time() - (now - began), began, request, _root(request), request.trapd_retrial)
    run.thread = threading.get_ident()
    return run


def _root(request: Any) -> str | None:
    """What brought a task: its workflow, by the root of it; or the group, where each task of a group is a root. One bad
    input then counts once, however many tasks it brings."""
    headers = getattr(request, "request_dict", None) or {}
    root, group = headers.get("root_id"), headers.get("group")
    found = group if group and root in (None, request.id) else root
    return str(found) if found else None


def _raised(exc_info: Any) -> BaseException:
    error: BaseException = exc_info.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _end(tally: Tally, run: Run, error: BaseException) -> None:
    seconds = monotonic() - run.began
    if isinstance(error, Retry):
        tally.retried(run, seconds)
    elif isinstance(error, Ignore | Reject):
        tally.withdrawn(run, seconds)
    elif isinstance(error, SystemExit | KeyboardInterrupt):  # Celery treats it as the loss of the child
        tally.failed(run, seconds, WorkerLostError.__name__)
    else:  # one that cannot be pickled comes with its name
        tally.failed(run, seconds, str(getattr(error, "exc_cls_name", None) or type(error).__name__))


def step(tally: Tally, queues: Queues) -> type[bootsteps.StartStopStep]:
    """The consumer's step that notes each delivery, and the queue that it came from."""

    class Delivered(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, consumer: Any, **options: Any) -> None:
            super().__init__(consumer, **options)
            make = consumer.create_task_handler

            def create_task_handler(*arguments: Any, **options: Any) -> Callable[[Any], None]:
                handle = make(*arguments, **options)

                def on_message(message: Any) -> None:
                    tally.delivered = now = time()
                    queues.follow(consumer.task_consumer)
                    tally.by_queue[queues.of(message)] = now
                    handle(message)

                return on_message

            consumer.create_task_handler = create_task_handler

        def start(self, consumer: Any) -> None:
            queues.follow(consumer.task_consumer)

    return Delivered
