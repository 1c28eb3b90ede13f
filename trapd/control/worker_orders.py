"""`worker.recycle`, `worker.drain`, `worker.undrain`: what is ordered of one worker."""

from __future__ import annotations

import asyncio

from trapd.control import documents, requests
from trapd.control.handlers import Call, StillGoingError, answer_wanted, one_line
from trapd.control.methods import Given
from trapd.model import InstanceId, InstanceState
from trapd.rollout.worker_orders import parse
from trapd.rollout.world import wanted_workers


async def recycle_worker(call: Call[requests.OfWorkerRecycle]) -> documents.OrderedWorker:
    """Replace one worker by one with the same code, new before old. With `wait` the answer comes when the worker is
    gone; after `timeout` the wait is given up with error 75."""
    worker, reason = call.params["worker"], one_line(call.params["reason"])
    await call.triggers.recycle_worker(worker, actor=call.actor, reason=reason)
    if call.params["wait"]:
        try:
            async with asyncio.timeout(call.params["timeout"]):
                await _gone(call, parse(worker), call.context.clock.now())
        except TimeoutError:
            again = f"trapctl why {worker} shows how far that is"
            raise StillGoingError(f"{worker} is not replaced yet; {again}", _answer(call, worker)) from None
    return _answer(call, worker)


async def drain(call: Call[requests.OfWorkerAndReason]) -> documents.OrderedWorker:
    """Have one worker finish its tasks and exit. Until it is undrained its pool wants one worker fewer, also after an
    upgrade or a restart of trapd."""
    worker, reason = call.params["worker"], one_line(call.params["reason"])
    await call.triggers.drain(worker, actor=call.actor, reason=reason)
    return _answer(call, worker)


async def undrain(call: Call[requests.OfWorker]) -> documents.OrderedWorker:
    """Let a worker take the place of one that was drained. A drain that is under way is not recalled."""
    await call.triggers.undrain(call.params["worker"], actor=call.actor)
    return _answer(call, call.params["worker"])


async def _gone(call: Call[requests.OfWorkerRecycle], id: InstanceId, ordered: float) -> None:
    """Wait until the run is gone that was ready when this was ordered. A later one may have the worker's name."""
    controller = call.context.controller
    while True:
        changed = controller.changed()  # taken before the look, so that no change falls between
        run = next((run for run in controller.pool(id.pool).instances if run.id == id), None)
        serves = run is not None and run.state is InstanceState.READY and (run.ready_at or 0.0) <= ordered
        if run is None or not (serves or run.state in (InstanceState.DRAINING, InstanceState.STOPPING)):
            return
        await asyncio.wait([changed])  # everybody's: not to be cancelled with us


def _answer(call: Call[Given], worker: str) -> documents.OrderedWorker:
    pool = parse(worker).pool
    view = call.context.controller.pool(pool)
    # not the last pass's number: the order has just changed it
    return {**answer_wanted(call.context, pool), "wanted": wanted_workers(view.spec, view.state), "worker": worker}
