"""Listen again where somebody removed a socket of trapd: a socket without its name cannot be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from trapd.controller import Controller
from trapd.errors import TrapdError
from trapd.watch.removals import Removals

log = logging.getLogger("trapd.listening")
SOCKETS = frozenset({"control.sock", "notify.sock", "instances"})  # in the runtime directory
SETTLES = 0.2  # seconds: an `rm -r` that finds a new file in its folder fails


async def keep_listening(
    config: Path, runtime: Path, controller: Controller, listen_again: Callable[[], Awaitable[bool]]
) -> None:
    """Listen again whenever ``listen_again`` has found that a socket is gone. An event wakes us; SIGHUP and each pass
    do, too. Never returns; raises TrapdError if nobody can listen in ``runtime`` any more."""
    loop = asyncio.get_running_loop()
    places = {config.parent: frozenset({config.name}), runtime: SOCKETS}
    if config.parent == runtime:
        places = {runtime: SOCKETS | {config.name}}
    removals = Removals(places, lambda: loop.call_soon_threadsafe(controller.notify))
    try:
        await asyncio.to_thread(removals.arm)
        while True:
            changed = controller.changed()  # taken before the look
            await asyncio.sleep(SETTLES)
            if await listen_again():
                log.error("somebody removed files of trapd from %s: listening there again", runtime)
                await asyncio.to_thread(removals.arm)
            await asyncio.wait([changed])  # everybody's: not to be cancelled with us
    except (OSError, TrapdError) as error:
        raise TrapdError(f"cannot listen in {runtime} any more: {error}; start trapd again") from error
    finally:
        await asyncio.to_thread(removals.close)
