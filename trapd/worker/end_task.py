"""End one task by its id, whatever the worker's loop is doing: it drains, waits for its broker, or runs the task.

Celery's own ``revoke`` runs in the loop of the consumer. Here nothing waits for the loop: the process or the greenlet
that runs the task is told at once, and Celery learns of its end as of any other. The id is revoked as well, so no
worker starts the task again.

What can be done differs by Celery pool. A soft end raises SoftTimeLimitExceeded in the task, as Celery's soft time
limit does: in a child process by SIGUSR1, in a greenlet, and in a thread as soon as the thread executes Python code. A
hard end kills the child process or the greenlet; a thread cannot be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.worker import state

from trapd.worker.tally import Run, Tally

GREEN = ("gevent", "eventlet")


class CannotEndError(Exception):
    """The message stands for itself."""


def end(worker: Any, tally: Tally, id: str, *, now: bool) -> str:
    """End the task ``id``; ``now``: without a chance to clean up. Return what was done.

    For the reporter's thread, which is a greenlet where the Celery pool is one of greenlets. Raises CannotEndError.
    """
    pool = type(worker.pool).__module__.rpartition(".")[2]
    if (run := _run(tally, id)) is not None:
        return _end_running(worker.pool, pool, run, now=now)
    if id not in state.requests:
        raise CannotEndError("it does not run here and does not wait here")
    state.revoked.update([id])  # which is asked when the task begins (worker/counting.py)
    if (run := _run(tally, id)) is not None:  # it has begun just now
        return _end_running(worker.pool, pool, run, now=now)
    if getattr(state.requests.get(id), "trapd_handed", False):
        if not (now and worker.hub):  # without a hub the processes share locks, which one that is killed may hold
            raise CannotEndError("it is on its way into a process; try again when it runs")
        _in_own_thread(lambda: state.requests[id].terminate(worker.pool, signal="KILL"))
        return "it is on its way into a process, which is killed as it begins"
    return "it waited here and is revoked"


def _run(tally: Tally, id: str) -> Run | None:
    return next((run for run in tally.running() if run.request is not None and run.request.id == id), None)


def interrupt(worker: Any, tally: Tally) -> list[str]:
    """Raise SoftTimeLimitExceeded in each task that a child process runs; return their ids.

    No id is revoked: a task that answers its soft time limit with a retry has to run again.
    """
    if worker is None or type(worker.pool).__module__.rpartition(".")[2] != "prefork":
        return []
    told = []
    for request in [run.request for run in tally.running()]:
        if request is not None and request.worker_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(request.worker_pid, signal.SIGUSR1)
                told.append(request.id)
    return told


def _end_running(celery_pool: Any, kind: str, run: Run, *, now: bool) -> str:
    request = run.request
    if now and kind not in ("prefork", *GREEN):
        raise CannotEndError(
            f"a task in Celery's pool {kind!r} runs in a thread, which cannot be killed; try it without --now"
        )
    state.revoked.update([request.id])
    if kind == "prefork":
        _end_process(celery_pool, request, now=now)
    elif kind in GREEN:
        _end_greenlet(celery_pool, request, now=now)
    else:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(run.thread), ctypes.py_object(SoftTimeLimitExceeded))
    return "it was killed" if now else "SoftTimeLimitExceeded is raised in it"


def _end_process(pool: Any, request: Any, *, now: bool) -> None:
    if not now:
        os.kill(request.worker_pid, signal.SIGUSR1)
        return
    result = request._apply_result and request._apply_result()
    if result is not None:
        result.terminate(signal.SIGKILL)  # so that Celery takes the loss of the process for what it is
    pool.terminate_job(request.worker_pid, signal.SIGKILL)


def _end_greenlet(pool: Any, request: Any, *, now: bool) -> None:
    if now:
        _in_own_thread(lambda: request.terminate(pool))  # speaks with the result backend
        return
    greenlet = pool._pool_map.get(request.worker_pid)
    if greenlet is not None:
        _in_own_thread(lambda: greenlet.kill(SoftTimeLimitExceeded()))


def _in_own_thread(act: Any) -> None:
    """A greenlet, where those have replaced threads."""

    def acting() -> None:
        with contextlib.suppress(Exception):
            act()

    threading.Thread(target=acting, name="trapd-end-task", daemon=True).start()
