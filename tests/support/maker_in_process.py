"""Orders for generations, done in this very process: where a test puts something in the way of the work itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trapd.generations import maker, short_lived
from trapd.generations.order import Order, Tell


async def run(order: Order, tell: Tell, begun: object) -> Any:
    return await asyncio.to_thread(maker.perform, order, tell)


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_lived, "run", run)
