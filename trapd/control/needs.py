"""What the commands need of the controller and of the triggers. Both fit without knowing this."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trapd.contracts import Accounts, Clock, Cost, History, Snapshots
from trapd.control import documents
from trapd.model import Disk, Generation, InstanceId, Memory, Pin, Rollout
from trapd.problem import Ages
from trapd.rollout.pin_begin import Later
from trapd.rollout.view import PoolView
from trapd.spec import PoolSpec


class Controller(Protocol):
    """What there is to see."""

    @property
    def specs(self) -> Mapping[str, PoolSpec]: ...
    @property
    def disk(self) -> Disk: ...
    @property
    def generations(self) -> Mapping[int, Generation]: ...
    @property
    def history(self) -> History: ...
    @property
    def snapshots(self) -> Snapshots: ...

    def pool(self, name: str) -> PoolView:
        """As the last pass saw it."""
        ...

    def pools(self) -> Sequence[PoolView]:
        """Every pool that is configured or still has workers."""
        ...

    async def look(self) -> Sequence[PoolView]:
        """The same, with the workers as they are now."""
        ...

    async def memory(self) -> Mapping[InstanceId, Memory]:
        """What the workers use now, as far as that is known."""
        ...

    async def observe(self, name: str) -> PoolView:
        """As a pass would see it now; nothing is done."""
        ...

    def as_installed(self, pool: str) -> bool:
        """Does it want the very code that is installed, under the settings in force?"""
        ...

    async def cost(self, number: int) -> Cost | None: ...

    async def flaw(self, number: int) -> str:
        """Why no worker could start from this generation any more; empty where nothing speaks against it."""
        ...

    def notify(self) -> None:
        """Something was changed past the controller: ``changed`` is done."""
        ...

    def changed(self) -> asyncio.Future[None]:
        """Done at the next change of anything in view. Shared: wait for it, never cancel it."""
        ...


class Triggers(Protocol):
    """What may be ordered. Raises RefusedError, with a message for people, for what cannot be done as things stand."""

    async def recycle(self, pools: Sequence[str], *, actor: str, reason: str) -> Sequence[Rollout]: ...
    async def retry(self, pools: Sequence[str], *, actor: str) -> Sequence[Rollout]: ...
    async def undo(self, pool: str, *, actor: str, to: int | None = None, settings: bool = False) -> Rollout: ...
    async def pause(self, pool: str, *, actor: str) -> None: ...
    async def resume(self, pool: str, *, actor: str) -> None: ...
    async def promote(self, pool: str, *, actor: str) -> None: ...
    async def drain(self, worker: str, *, actor: str, reason: str) -> None: ...
    async def undrain(self, worker: str, *, actor: str) -> None: ...
    async def recycle_worker(self, worker: str, *, actor: str, reason: str) -> None: ...
    async def scale(self, pool: str, workers: int, *, actor: str) -> None: ...


class Pins(Protocol):
    """The runs that hold the code of pools."""

    def find(self, pool: str, id: str) -> Pin | None:
        """This pin, as long as it holds."""
        ...

    async def begin(self, pools: Sequence[str], *, actor: str, reason: str) -> Mapping[str, Pin] | Later:
        """Pin the code of all these pools, or say why that has to wait."""
        ...

    async def take_up(self, pool: str, id: str, *, actor: str) -> Pin:
        """Raises RefusedError if the pin has ended meanwhile."""
        ...

    def keep(self, id: str) -> None:
        """Its holder gives a sign of life."""
        ...

    def heard_at(self, id: str) -> float: ...
    def give_up(self, pool: str, id: str, why: str) -> None: ...
    def why_ended(self, id: str) -> str: ...
    async def override(self, pool: str, *, actor: str) -> None: ...


async def _none() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class About:
    """The daemon, for its status. ``state()`` is "starting", "running" or "stopping".

    ``troubles()`` are what keeps trapd itself from its work, in sentences. ``warnings()`` tell
    what this machine does not allow, and no worker needs to do its work. ``hears()``: whether all changes of the
    installed code are reported. ``host()`` is the machine's name, now.
    """

    version: str
    pid: int
    backend: documents.Backend
    state: Callable[[], documents.DaemonState]
    troubles: Callable[[], Awaitable[Sequence[str]]] = _none
    warnings: Callable[[], Sequence[str]] = lambda: ()
    hears: Callable[[], bool] = lambda: True
    host: Callable[[], str] = socket.gethostname


class Counts(Protocol):
    """Counts events."""

    def now(self) -> Mapping[tuple[str, str], int]:
        """Kind and pool ("" for none) -> how many events. Raises HistoryError."""
        ...


class Notifier(Protocol):
    """Tells the outside of events."""

    async def test(self, actor: str) -> str:
        """Notify of a test; return who was told. Raises RefusedError with the reason if that failed."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What every command has before it: who we are, the controller, the time, a look at what is installed, after
    which the controller knows it, the accounts of the workers, and since when each problem is there."""

    about: About
    controller: Controller
    clock: Clock
    look: Callable[[], Awaitable[object]]
    accounts: Accounts
    ages: Ages = field(default_factory=Ages)
    notifier: Notifier | None = None
    counts: Counts | None = None  # of events, since trapd started

    def moment(self, at: float) -> float:
        """A moment of CLOCK_MONOTONIC as seconds since the epoch, to the millisecond."""
        return round(self.clock.wall() - (self.clock.now() - at), 3)
