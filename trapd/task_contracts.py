"""Have a generation's registered tasks told by the first worker that can, and compared with those of the code before.

A worker answers before it takes its first task on, and reports with a status that it does. So the names are known
before the new code serves, and nothing asks regularly: each generation is asked once.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from trapd.contracts import Accounts
from trapd.controller import Controller
from trapd.errors import HistoryError
from trapd.model import Instance, InstanceState
from trapd.rollout import task_changes

_CAN_TELL = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING})


class TaskContracts:
    """``run`` it for as long as the controller runs."""

    def __init__(self, controller: Controller, accounts: Accounts) -> None:
        self._controller, self._accounts = controller, accounts
        self._asked: set[tuple[int, str]] = set()  # processes, and what they said when they were asked

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._controller.changed()  # taken before the look
            while instances := self._to_be_asked():
                await asyncio.gather(*map(self._ask, instances))
            self._compare()
            await asyncio.wait([changed])  # everybody's: not to be cancelled with us

    def _to_be_asked(self) -> list[Instance]:
        """A worker of each generation whose tasks are not known; the same worker again only once it says more."""
        found: dict[int, Instance] = {}
        for view in self._controller.pools():
            for instance in view.instances:
                known = self._controller.generations.get(instance.id.generation)
                if known is None or known.tasks is not None or instance.state not in _CAN_TELL:
                    continue
                if instance.pid is not None and (instance.pid, _phase(instance)) not in self._asked:
                    found.setdefault(known.number, instance)
        return list(found.values())

    async def _ask(self, instance: Instance) -> None:
        assert instance.pid is not None
        number = instance.id.generation
        self._asked.add((instance.pid, _phase(instance)))
        tasks = await self._accounts.registered(instance.id.name, instance.pid)
        known = self._controller.generations.get(number)
        if tasks is None or known is None:
            return
        with contextlib.suppress(HistoryError):  # trapctl status has it; told again by the next worker
            self._controller.save([], [], [replace(known, tasks=dict(tasks))])

    def _compare(self) -> None:
        controller = self._controller
        for name in controller.specs:
            found = task_changes.compared(controller.state(name), controller.generations, controller.clock.wall())
            if found is None:
                continue
            state, events = found
            with contextlib.suppress(HistoryError):  # trapctl status has it; compared again at the next change
                controller.save([state], events)
                controller.wake(name)


def _phase(instance: Instance) -> str:
    """The first word of its status, which changes when it may tell more."""
    return f"{instance.state} {instance.status.partition(' ')[0]}"
