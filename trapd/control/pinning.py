"""`pin` and `pin.keep`: a run holds the code of pools while its connection is there and gives signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from trapd.control import documents, requests
from trapd.control.handlers import Call, StillGoingError, find_pool, one_line
from trapd.control.needs import Context
from trapd.control.pinned import clock_time
from trapd.control.protocol import SCHEMA
from trapd.errors import RefusedError, UsageError
from trapd.model import Pin
from trapd.rollout.pin_begin import Later

ASKED_EVERY = 20.0  # s
UNANSWERED = 3  # questions in a row without a sign of life: the holder is stopped, or hangs


async def pin(call: Call[requests.OfPin]) -> documents.Unpinned:
    """Hold the code of `pools` until the connection is closed: no other code is rolled out, while recycles of the same
    code, restarts and `scale` go on. Sends [PinProgress](#pinprogress)es: why the run has to wait, and, for each pool,
    when all are held; as long as one has to wait none is. The latter are sent again every 20 s, and the holder answers
    each with `pin.keep`; if it does not for a minute, the pins end. Answers only if a pin ends before the connection:
    after `[rollout] longest_pin`, or because an operator overrides it; the others end with it. If a rollout waits for a
    person, that is error 75 at once. After a restart trapd keeps pins for 60 s, in which `pin` takes them up again."""
    names = _pools(call)
    held: dict[str, Pin] = {}
    try:
        if call.params["pins"] is None:
            held.update(await _begin(call, names))
        else:
            await _take_up(call, dict(zip(names, call.params["pins"], strict=False)), held)
        return await _hold(call, held)
    finally:  # the connection is gone, be it with trapd, which then writes nothing down any more
        for name, one in held.items():
            call.pins.give_up(name, one.id, "its run has ended")


async def keep(call: Call[requests.OfKeep]) -> documents.Kept:
    """Give a sign of life, with which the holder of `pin` answers each of its [PinProgress](#pinprogress)."""
    call.pins.keep(call.params["pin"])
    return {"schema": SCHEMA}


def _pools(call: Call[requests.OfPin]) -> list[str]:
    """Each once, in the order in which they were named."""
    if call.params["pools"]:
        return [find_pool(call, name) for name in dict.fromkeys(call.params["pools"])]
    known = sorted(call.context.controller.specs)
    if len(known) != 1:
        raise UsageError(f"cannot pin without the name of a pool: there are {', '.join(known)}; use --pool")
    return known


async def _begin(call: Call[requests.OfPin], names: Sequence[str]) -> Mapping[str, Pin]:
    reason, told = one_line(call.params["reason"]), ""
    while True:
        changed = call.context.controller.changed()  # taken before the look, so that no change falls between
        begun = await call.pins.begin(names, actor=call.actor, reason=reason)
        if not isinstance(begun, Later):
            return begun
        waits = _waits(begun)
        if begun.person:
            raise StillGoingError(f"cannot pin pool {begun.pool}: {begun.why}", waits)
        if told != waits["message"]:
            told = waits["message"]
            await call.report(waits)
        await asyncio.wait([changed])  # everybody's: not to be cancelled with us


async def _take_up(call: Call[requests.OfPin], ids: Mapping[str, str], held: dict[str, Pin]) -> None:
    """Raises RefusedError if one has ended; the others are in ``held``, and can be given up."""
    refused: RefusedError | None = None
    for name, id in ids.items():
        try:
            held[name] = await call.pins.take_up(name, id, actor=call.actor)
        except RefusedError as error:
            refused = error
    if refused is not None:
        raise refused


async def _hold(call: Call[requests.OfPin], held: Mapping[str, Pin]) -> documents.Unpinned:
    """Until one of them ends. Returns which, and why."""
    clock, pins, silent = call.context.clock, call.pins, 0
    asked = ask_at = clock.now()
    while not (over := [name for name, one in held.items() if pins.find(name, one.id) is None]):
        changed = call.context.controller.changed()
        if clock.now() >= ask_at:
            if silent >= UNANSWERED:
                for name, one in held.items():
                    pins.give_up(name, one.id, f"its holder was silent for {ASKED_EVERY * UNANSWERED:g} s")
                continue
            asked, ask_at = clock.now(), clock.now() + ASKED_EVERY
            for name, one in held.items():
                await call.report(_held(call.context, name, one))
        await asyncio.wait([changed], timeout=max(0.0, ask_at - clock.now()))
        if clock.now() >= ask_at:
            silent = 0 if all(pins.heard_at(one.id) >= asked for one in held.values()) else silent + 1
    return {"schema": SCHEMA, "pool": over[0], "message": pins.why_ended(held[over[0]].id)}


def _waits(later: Later) -> documents.PinProgress:
    message = f"pool {later.pool}: waiting: {later.why}"
    return {"pool": later.pool, "pin": None, "generation": None, "digest": None, "until": None, "message": message}


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
