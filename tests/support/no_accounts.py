"""Workers that nobody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trapd.contracts import Accounts, Asked, Ended
from trapd.errors import RefusedError
from trapd.event import TaskEnd
from trapd.work import TaskRun, Work


class NoAccounts(Accounts):
    """Of workers that nobody asks: nothing is known of their tasks."""

    async def work(
        self, instance: str, pid: int, retrials: Mapping[str, str] | None = None, *, abstain: bool = False
    ) -> Work:
        return Work(unanswered="it is not asked")

    async def works(self, asked: Sequence[Asked]) -> Sequence[Work]:
        return [await self.work(one.instance, one.pid) for one in asked]

    async def poison(self, instance: str, pid: int, id: str, order: str) -> str:
        return "goes back"

    async def left(self, ended: Ended) -> Sequence[TaskEnd]:
        return ()

    async def settle(self, instance: str, *, gone: bool) -> None:
        pass

    async def end(self, instance: str, pid: int, id: str, *, now: bool) -> str:
        raise RefusedError("it is not asked")

    def written(self, instance: str, pid: int) -> Sequence[TaskRun]:
        return ()

    async def registered(self, instance: str, pid: int) -> Mapping[str, str] | None:
        return None

    async def admit(self, instance: str, pid: int) -> bool:
        return False

    async def waiting(self, instance: str, pid: int, tasks: Sequence[str]) -> Mapping[str, int | None] | None:
        return None


NO_ACCOUNTS = NoAccounts()
