"""The backend and its listings, on a connection that fails when it is told to. The rest needs a real systemd:
tests/nspawn/test_backend_systemd.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.virtual_clock import VirtualClock
from trapd.backend.systemd import backend
from trapd.backend.systemd.bus import LostError
from trapd.model import InstanceId


class Connection:
    """Has the outside of pid1.Pid1, as far as listings need it."""

    def __init__(self, *, on_gap: Any, **_: Any) -> None:
        self.on_gap = on_gap
        self.lost = False
        self.listings: list[bool] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def units(self) -> list[InstanceId]:
        self.listings.append(not self.lost)
        if self.lost:
            raise LostError("not connected")
        return []


async def test_a_listing_that_failed_is_made_again_as_soon_as_the_connection_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PID 1 comes back to the bus, and is heard, before we are through with connecting: this listing must fail. The
    5 s of its next try were once waited out, and starts given up meanwhile."""
    monkeypatch.setattr(backend, "Pid1", Connection)
    monkeypatch.setattr(backend, "BEGUN", 3600.0)

    async def until(connection: Connection, listings: list[bool]) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        assert connection.listings == listings

    there = backend.SystemdBackend(reports=tmp_path, clock=VirtualClock(), on_change=lambda _: None)
    await there.open()
    connection: Any = there._pid1
    connection.lost = True
    connection.on_gap(False)
    await until(connection, [True, False])
    connection.lost = False
    connection.on_gap(True)
    await until(connection, [True, False, True])
    await there.close()
