"""Ask the workers of a pool for their accounts, if its new code is on trial; and read what ended workers have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trapd.contracts import Accounts, Asked, Ended
from trapd.event import Event
from trapd.model import Instance, InstanceId
from trapd.rollout import receipts
from trapd.rollout.trial import abstaining, questions
from trapd.rollout.view import PoolView
from trapd.rollout.world import World
from trapd.work import Work

_SLACK = 2.0  # s by which a file of a run may seem older than what history last tells of the run


async def works(accounts: Accounts, world: World, now: float) -> Mapping[InstanceId, Work]:
    """Return the accounts of those that are asked and answer; of nobody if nothing is on trial."""
    pids = {instance.id: instance.pid for instance in world.instances}
    holds = abstaining(world, now)  # all new workers
    asked = [
        (id, Asked(id.name, pid, marks, holds and id.generation == world.state.wanted))
        for id, marks in questions(world, now).items()
        if (pid := pids[id])
    ]
    answers = await accounts.works([question for _, question in asked]) if asked else ()
    return {id: work for (id, _), work in zip(asked, answers, strict=True) if not work.unanswered}


class Ends:
    """Of one pool: what ended workers have left is read before their ends are recorded, and removed afterwards."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._pids: dict[str, int] | None = None  # main processes, as last seen; None: no pass has looked yet
        # Workers whose files may go once all is written: whether they are gone, and the process that has ended.
        self._due: dict[str, tuple[bool, int | None]] = {}

    async def told(self, events: Iterable[Event], before: Iterable[Instance], view: PoolView) -> list[Event]:
        """Return the events, those of ends with the tasks that the runs had. ``before``: the pool's workers as the pass
        before left them."""
        since = {instance.id.name: view.wall - max(0.0, view.at - instance.since) for instance in before}
        now = {instance.id.name: instance.pid for instance in view.instances}
        found = [await self._told(event, since, now) for event in events]
        known = self._pids or {}
        self._pids = {name: pid for name in now if (pid := now[name] or known.get(name))}
        return found

    async def _told(self, event: Event, since: Mapping[str, float], now: Mapping[str, int | None]) -> Event:
        name = event.instance
        if name is None:
            return event
        if not (event.kind.over or event.kind.failure):
            return event
        told_before = self._due.get(name, (False, None))[1]  # what could not be written is told again
        pid = told_before if self._pids is None else self._pids.pop(name, told_before)
        self._due[name] = event.kind.over, pid
        if event.kind not in receipts.ENDS or (pid is None and self._pids is not None):
            return event
        ended = Ended(name, pid, since.get(name, event.wall) - _SLACK, now.get(name))
        return receipts.told(event, await self._accounts.left(ended))

    async def settle(self) -> None:
        """All that was told is written down."""
        due, self._due = self._due, {}
        for name, (gone, _) in due.items():
            await self._accounts.settle(name, gone=gone)
