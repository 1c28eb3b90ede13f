"""What a person orders of one worker: drain, undrain, recycle. The orders are kept with the pool's state.

A drained worker finishes what it has, and no other takes its place: until it is undrained its pool wants one worker
fewer, over upgrades, recycles and restarts of trapd. A recycled worker is replaced by one with the same code, new
before old, within the pool's budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from trapd.errors import RefusedError
from trapd.model import Instance, InstanceId, InstanceState, PoolState, WorkerOrder


def drain(state: PoolState, order: WorkerOrder, instance: Instance | None) -> PoolState:
    """The pool without this worker. The first order holds. Raises RefusedError if no such worker is there."""
    if any(earlier.worker == order.worker for earlier in state.drained):
        return state
    if instance is None:
        raise RefusedError(f"cannot drain {order.worker}: no such worker is there; see trapctl status")
    return replace(state, drained=(*state.drained, order))


def undrain(state: PoolState, worker: str) -> PoolState:
    """The pool with one worker more. A drain that is under way is not recalled. Raises RefusedError if the worker was
    not drained by an order."""
    left = tuple(order for order in state.drained if order.worker != worker)
    if left == state.drained:
        names = ", ".join(order.worker for order in state.drained) or "no worker"
        raise RefusedError(f"cannot undrain {worker}: nobody drained it; drained in pool {state.pool}: {names}")
    return replace(state, drained=left)


def recycle(state: PoolState, order: WorkerOrder, instance: Instance | None) -> PoolState:
    """The pool that replaces this worker. Raises RefusedError if there is nothing to replace."""
    if instance is None:
        raise RefusedError(f"cannot recycle {order.worker}: no such worker is there; see trapctl status")
    if order.worker in {drained.worker for drained in state.drained} or instance.state is not InstanceState.READY:
        why = f"it is {instance.state}; only a worker that is ready and was not drained can be replaced"
        raise RefusedError(f"cannot recycle {order.worker}: {why}")
    if instance.id.generation != state.wanted:
        why = f"generation {state.wanted} takes over from it already"
        raise RefusedError(f"cannot recycle {order.worker}: {why}")
    others = tuple(earlier for earlier in state.recycled if earlier.worker != order.worker)
    return replace(state, recycled=(*others, order))


def to_be_replaced(state: PoolState, instance: Instance) -> str:
    """Why a person had this run of the worker replaced, in words that follow its name; empty if nobody did."""
    for order in state.recycled:
        if order.worker == instance.id.name and instance.ready_at is not None and instance.ready_at <= order.at:
            return f"is {because('recycled', order)}"
    return ""


def done(state: PoolState, instances: Iterable[Instance]) -> PoolState:
    """The pool without the orders to recycle a run that leaves, or has left."""
    runs = [instance for instance in instances if instance.state is InstanceState.READY]
    left = tuple(o for o in state.recycled if any(to_be_replaced(replace(state, recycled=(o,)), run) for run in runs))
    return state if left == state.recycled else replace(state, recycled=left)


def because(verb: str, order: WorkerOrder) -> str:
    """``drained by root: memory test``"""
    return f"{verb} by {order.actor}" + (f": {order.reason}" if order.reason else "")


def reminders(state: PoolState, when: Callable[[float], str]) -> list[str]:
    """A sentence for each drained worker, with the way back. ``when`` makes words of seconds since the epoch."""
    return [
        f"{order.worker} was {because('drained', order)}, {when(order.wall)}; until trapctl undrain {order.worker} no"
        f" worker takes its place"
        for order in state.drained
    ]


def parse(name: str) -> InstanceId:
    """Read a worker's name. Raises RefusedError."""
    try:
        return InstanceId.parse(name)
    except ValueError:
        raise RefusedError(f"cannot find the worker {name!r}: name one as POOL@G-S; see trapctl status") from None
