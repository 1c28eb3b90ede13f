"""`tasks.poisoned`, `tasks.retry`, `tasks.drop`: tasks that are set aside because they kill their processes."""

from __future__ import annotations

import contextlib

from trapd.control import documents, requests
from trapd.control.handlers import Call
from trapd.control.protocol import SCHEMA
from trapd.control.tasks import described_aside
from trapd.errors import HistoryError, RefusedError
from trapd.event import Event, EventKind
from trapd.model import InstanceState


async def poisoned(call: Call[requests.Nothing]) -> documents.Poisoned:
    """List the tasks that this host has set aside because they killed their process or their worker too often."""
    views = await call.context.controller.look()
    return {"schema": SCHEMA, "tasks": [one for view in views for one in described_aside(view) if one["id"]]}


async def retry_task(call: Call[requests.OfTask]) -> documents.TaskEnded:
    """Put a poisoned task back into its queue; its kills are forgotten. A worker does that in a moment."""
    return await _order(call, "retry")


async def drop_task(call: Call[requests.OfTask]) -> documents.TaskEnded:
    """Drop a poisoned task for good. A worker does that in a moment."""
    return await _order(call, "drop")


async def _order(call: Call[requests.OfTask], order: str) -> documents.TaskEnded:
    id, context = call.params["task"], call.context
    for view in await context.controller.look():
        if not any(aside["id"] and aside["id"] == id for aside in described_aside(view)):
            continue
        for instance in view.instances:
            if instance.state is not InstanceState.READY or instance.pid is None:
                continue
            done = await context.accounts.poison(instance.id.name, instance.pid, id, order)
            reason = f"task {id}: {done}"
            event = Event(context.clock.wall(), EventKind.RELEASED, reason, call.actor, view.spec.name)
            with contextlib.suppress(HistoryError):  # trapctl status has it
                context.controller.history.save(events=[event])
            return {"schema": SCHEMA, "worker": instance.id.name, "id": id, "done": done}
    raise RefusedError(
        f"cannot {order} task {id}: no worker here reports that it is set aside; see trapctl tasks poisoned"
    )
