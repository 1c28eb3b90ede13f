"""Have a generation's registered tasks told by the first worker that can, and compared with those of the code before.

A worker answers before it takes its first task on, and reports with a status that it does; nothing asks regularly, and
each generation is asked once. The first worker of a generation waits for the word that it may serve, and where a pool
holds rollouts that drop or alter tasks, each worker does. While such a rollout waits, an old worker is asked now and
then whether their messages are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from trapd.contracts import Accounts
from trapd.controller import Controller
from trapd.errors import HistoryError
from trapd.event import Event, EventKind
from trapd.model import Instance, InstanceState
from trapd.rollout import task_changes, want
from trapd.rollout.gates import Gate, before_canary
from trapd.rollout.view import PoolView
from trapd.spec import OnMissingTasks

LOOK_EVERY = 10.0  # s between two questions for messages, while a rollout waits for their end
_CAN_TELL = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING})


class TaskContracts:
    """``run`` it for as long as the controller runs."""

    def __init__(self, controller: Controller, accounts: Accounts) -> None:
        self._controller, self._accounts = controller, accounts
        self._admitted: set[int] = set()  # processes
        self._asked: set[tuple[int, str]] = set()  # processes, and what they said when they were asked

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._controller.changed()  # taken before the look
            self._forget_who_left()
            while instances := self._to_be_asked():
                await asyncio.gather(*map(self._ask, instances))
            self._compare()
            await asyncio.gather(*map(self._admit, self._to_be_admitted()))
            held = [view for view in self._controller.pools() if before_canary(view.gate)]
            await asyncio.gather(*map(self._open, held))
            await asyncio.wait([changed], timeout=LOOK_EVERY if held else None)  # everybody's: not to be cancelled

    def _forget_who_left(self) -> None:
        """The system gives their numbers to others, who have to be asked and admitted in their turn."""
        there = {instance.pid for view in self._controller.pools() for instance in view.instances}
        self._admitted &= there
        self._asked = {asked for asked in self._asked if asked[0] in there}

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

    def _to_be_admitted(self) -> list[Instance]:
        controller, found = self._controller, []
        for view in controller.pools():
            state, holds = controller.state(view.spec.name), view.spec.policy.on_missing_tasks is OnMissingTasks.HOLD
            found += [
                instance
                for instance in view.instances
                if instance.state is InstanceState.STARTING
                and instance.pid not in {None, *self._admitted}
                and (holds or instance.id.slot == 1)  # worker/admission.py
                and task_changes.may_serve(state, controller.generations, instance.id.generation, holds=holds)
            ]
        return found

    async def _admit(self, instance: Instance) -> None:
        assert instance.pid is not None
        if await self._accounts.admit(instance.id.name, instance.pid):
            self._admitted.add(instance.pid)

    async def _open(self, view: PoolView) -> None:
        """Let a rollout go on once the old workers have no message of the tasks that it drops or alters, and find none
        in their queues."""
        rollout, controller, pool = view.state.rollout, self._controller, view.spec.name
        if rollout is None or rollout.tasks is None or Gate.TASKS in rollout.opened:  # the next pass is to come
            return
        names = (*rollout.tasks.missing, *rollout.tasks.altered)
        old = [(i, i.pid) for i in view.instances if i.state is InstanceState.READY and i.pid is not None]
        asked = (
            self._accounts.waiting(i.id.name, pid, names) for i, pid in old if i.id.generation != rollout.generation
        )
        answers = await asyncio.gather(*asked)
        state = controller.state(pool)
        free = all(answer and not any(count != 0 for count in answer.values()) for answer in answers)
        if not answers or not free or state.rollout != rollout:
            return
        reason = f"no message of {', '.join(names[: task_changes.SHOWN])} is in the queues, or reserved, any more"
        event = Event(controller.clock.wall(), EventKind.OPENED, reason, "trapd", pool, rollout.id, rollout.generation)
        with contextlib.suppress(HistoryError):  # trapctl status has it; opened at the next look
            controller.save([want.opened(state, Gate.TASKS, controller.clock.now())], [event])
            controller.wake(pool)


def _phase(instance: Instance) -> str:
    """The first word of its status, which changes when it may tell more."""
    return f"{instance.state} {instance.status.partition(' ')[0]}"
