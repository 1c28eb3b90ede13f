"""Waiting until what is installed was looked at: before that, "the latest rollout" is the one before the upgrade."""

from __future__ import annotations

import asyncio

from trapd.control import documents, requests
from trapd.control.handlers import Call, StillGoingError
from trapd.control.protocol import SCHEMA
from trapd.control.status import describe_disk


async def disk_wait(call: Call[requests.OfDisk]) -> documents.Looked:
    """Answer when what is installed has come to rest, was looked at, and each rollout that it causes has begun. After
    `timeout` the wait is given up with error 75."""
    controller = call.context.controller
    try:
        async with asyncio.timeout(call.params["timeout"]):
            return {"schema": SCHEMA, "disk": describe_disk(await controller.noticed())}
    except TimeoutError:
        seen = describe_disk(controller.disk)
    why = seen["reason"] or seen["state"]
    again = "wait again with trapctl rollout status"
    raise StillGoingError(f"what is installed has not come to rest ({why}); {again}", seen)
