"""Whose end is waited for: real processes, and a question that the test answers."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.fake_controller import RealClock
from trapd.watch import endings
from trapd.watch.endings import Endings

PATIENCE = 30.0
Process = subprocess.Popen[bytes]


class Machine:
    """On which installers are at work."""

    def __init__(self) -> None:
        self.at_work: set[int] = set()
        self.asked = self.ends = 0
        self.endings = Endings(RealClock(), at_work=self._installers, ended=self._ended)

    async def _installers(self) -> frozenset[int]:
        self.asked += 1
        return frozenset(self.at_work)

    def _ended(self) -> None:
        self.ends += 1

    @asynccontextmanager
    async def installer(self) -> AsyncIterator[Process]:
        """A process that ends when its input does."""
        process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stderr=-3)
        self.at_work.add(process.pid)
        try:
            yield process
        finally:
            end(process)

    def end(self, process: Process) -> None:
        self.at_work.discard(process.pid)
        end(process)


def end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 (the kernel alone sets it)
            await asyncio.sleep(0)


async def a_while() -> None:
    """Whatever is ready by now happens."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(endings, "PAUSE", 0.0)
    return Machine()


async def test_the_end_of_an_installer_is_told_once_and_is_not_polled_for(machine: Machine) -> None:
    async with machine.installer() as pip:
        machine.endings.heard()
        await until(lambda: machine.asked == 1)
        for _ in range(5):
            machine.endings.heard(metadata=True)  # of the first of two packages
            await a_while()
        assert (machine.asked, machine.ends) == (1, 0)
        machine.end(pip)
        await until(lambda: machine.ends == 1)
        await a_while()
    assert (machine.asked, machine.ends) == (2, 1), "it is asked whether another one has begun"


async def test_one_that_was_too_fast_to_be_seen_has_ended(machine: Machine) -> None:
    machine.endings.heard(metadata=True)
    await until(lambda: machine.ends == 1)


async def test_without_an_installer_nothing_ends(machine: Machine) -> None:
    for _ in range(3):
        machine.endings.heard()
        await a_while()
    assert (machine.asked, machine.ends) == (1, 0), "once a second"


async def test_the_last_of_several_counts(machine: Machine) -> None:
    async with machine.installer() as apt, machine.installer() as dpkg:
        machine.endings.heard()
        await until(lambda: machine.asked == 1)
        machine.end(dpkg)
        await a_while()
        assert (machine.asked, machine.ends) == (1, 0)
        machine.end(apt)
        await until(lambda: machine.ends == 1)


async def test_one_that_follows_at_once_is_waited_for_as_well(machine: Machine) -> None:
    async with machine.installer() as first, machine.installer() as second:
        machine.at_work = {first.pid}
        machine.endings.heard()
        await until(lambda: machine.asked == 1)
        machine.at_work = {second.pid}
        end(first)
        await until(lambda: machine.asked == 2)
        await a_while()
        assert machine.ends == 0
        machine.end(second)
        await until(lambda: machine.ends == 1)


async def test_one_that_ends_before_it_can_be_followed_has_ended(machine: Machine) -> None:
    async with machine.installer() as pip:
        end(pip)
        machine.endings.heard()
        await until(lambda: machine.asked == 1)
        machine.at_work.clear()
        await until(lambda: machine.ends == 1)


async def test_whoever_is_followed_when_trapd_turns_away_is_followed_no_more(machine: Machine) -> None:
    async with machine.installer() as pip:
        machine.endings.heard()
        await until(lambda: machine.asked == 1)
        await a_while()
        machine.endings.close()
        machine.end(pip)
        await a_while()
    assert (machine.asked, machine.ends) == (1, 0)
