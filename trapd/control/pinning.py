"""`pin` and `pin.keep`: a run holds the code of a pool while its connection is there and gives signs of life."""

from __future__ import annotations

import asyncio

from trapd.control import documents, requests
from trapd.control.handlers import Call, StillGoingError, find_pool, one_line
from trapd.control.needs import Context
from trapd.control.pinned import clock_time
from trapd.control.protocol import SCHEMA
from trapd.errors import UsageError
from trapd.model import Pin
from trapd.rollout.pin_begin import Later

ASKED_EVERY = 20.0  # s
UNANSWERED = 3  # questions in a row without a sign of life: the holder is stopped, or hangs


async def pin(call: Call[requests.OfPin]) -> documents.Unpinned:
    """Hold the code of `pool` until the connection is closed: no other code is rolled out, while recycles of the same
    code, restarts and `scale` go on. Sends a [PinProgress](#pinprogress): why the run has to wait, and when the code is
    held. The latter is sent again every 20 s, and the holder answers with `pin.keep`; if it does not for a minute, the
    pin ends. Answers only if the pin ends before the connection: after `[rollout] longest_pin`, or because an operator
    overrides it. If a rollout waits for a person, that is error 75 at once. After a restart trapd keeps the pin for
    60 s, in which `pin` takes it up again."""
    name = _pool(call)
    if call.params["pin"] is None:
        held = await _begin(call, name)
    else:
        held = await call.pins.take_up(name, call.params["pin"], actor=call.actor)
    try:
        return await _hold(call, name, held)
    finally:  # the connection is gone, be it with trapd, which then writes nothing down any more
        call.pins.give_up(name, held.id, "its run has ended")


async def keep(call: Call[requests.OfKeep]) -> documents.Kept:
    """Give a sign of life, with which the holder of `pin` answers each of its [PinProgress](#pinprogress)."""
    call.pins.keep(call.params["pin"])
    return {"schema": SCHEMA}


def _pool(call: Call[requests.OfPin]) -> str:
    if call.params["pool"] is not None:
        return find_pool(call, call.params["pool"])
    known = sorted(call.context.controller.specs)
    if len(known) != 1:
        raise UsageError(f"cannot pin without the name of a pool: there are {', '.join(known)}; use --pool")
    return known[0]


async def _begin(call: Call[requests.OfPin], name: str) -> Pin:
    reason, told = one_line(call.params["reason"]), ""
    while True:
        changed = call.context.controller.changed()  # taken before the look, so that no change falls between
        begun = await call.pins.begin(name, actor=call.actor, reason=reason)
        if not isinstance(begun, Later):
            return begun
        waits = _waits(name, begun)
        if begun.person:
            raise StillGoingError(f"cannot pin pool {name}: {begun.why}", waits)
        if told != begun.why:
            told = begun.why
            await call.report(waits)
        await asyncio.wait([changed])  # everybody's: not to be cancelled with us


async def _hold(call: Call[requests.OfPin], name: str, held: Pin) -> documents.Unpinned:
    clock, silent = call.context.clock, 0
    asked = ask_at = clock.now()
    while call.pins.find(name, held.id) is not None:
        changed = call.context.controller.changed()
        if clock.now() >= ask_at:
            if silent >= UNANSWERED:
                call.pins.give_up(name, held.id, f"its holder was silent for {ASKED_EVERY * UNANSWERED:g} s")
                break
            asked, ask_at = clock.now(), clock.now() + ASKED_EVERY
            await call.report(_held(call.context, name, held))
        await asyncio.wait([changed], timeout=max(0.0, ask_at - clock.now()))
        if clock.now() >= ask_at:
            silent = 0 if call.pins.heard_at(held.id) >= asked else silent + 1
    return {"schema": SCHEMA, "pool": name, "message": call.pins.why_ended(held.id)}


def _waits(name: str, later: Later) -> documents.PinProgress:
    message = f"pool {name}: waiting: {later.why}"
    return {"pool": name, "pin": None, "generation": None, "digest": None, "until": None, "message": message}


def _held(context: Context, name: str, held: Pin) -> documents.PinProgress:
    generation = context.controller.generations.get(held.generation)
    return {
        "pool": name,
        "pin": held.id,
        "generation": held.generation,
        "digest": generation.fingerprint if generation is not None else None,
        "until": held.until_wall,
        "message": f"pool {name}: generation {held.generation} is pinned until {clock_time(held.until_wall)} at most",
    }
