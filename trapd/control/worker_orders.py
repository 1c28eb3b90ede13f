"""`worker.recycle`, `worker.drain`, `worker.undrain`: what is ordered of one worker."""

from __future__ import annotations

from trapd.control import documents, requests
from trapd.control.handlers import Call, answer_wanted, one_line
from trapd.control.methods import Given
from trapd.rollout.worker_orders import parse
from trapd.rollout.world import wanted_workers


async def recycle_worker(call: Call[requests.OfWorkerAndReason]) -> documents.OrderedWorker:
    """Replace one worker by one with the same code, new before old. The answer comes at once."""
    worker, reason = call.params["worker"], one_line(call.params["reason"])
    await call.triggers.recycle_worker(worker, actor=call.actor, reason=reason)
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


def _answer(call: Call[Given], worker: str) -> documents.OrderedWorker:
    pool = parse(worker).pool
    view = call.context.controller.pool(pool)
    # not the last pass's number: the order has just changed it
    return {**answer_wanted(call.context, pool), "wanted": wanted_workers(view.spec, view.state), "worker": worker}
