"""A plan being written: what is in it so far, how many workers it leaves alive, and what they wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trapd.model import Ailment, Instance, InstanceId, InstanceState
from trapd.rollout.actions import Action, Advance, Clear, Plan, Start, Suspect, Verify
from trapd.rollout.budget import budget
from trapd.rollout.gates import before_canary, closed
from trapd.rollout.instances import Desire, step
from trapd.rollout.phases import MEANS, phase
from trapd.rollout.trial import as_record, compared, figures, find, look_again, probations, retried
from trapd.rollout.truth import available, healthy_at, well
from trapd.rollout.verdict import canary_deadline, progress_deadline
from trapd.rollout.world import World

LOOK_AGAIN = 1.0  # s, for the sign of life that proves a worker: nothing but a look tells of it (B15)


class Draft:
    """``live`` counts every process that is or will be there, draining ones too."""

    def __init__(self, world: World, now: float) -> None:
        self.world, self.now = world, now
        self.wanted = world.wanted_workers
        self.found = find(world, now)
        closing = self.found.cleared and not self.found.open and not self.found.suspects
        self.retried = retried(world) and not closing  # when this plan is carried out
        sized = world.room is None or world.room.workers is not None
        self.budget = budget(world.spec, self.wanted, sized=sized, retrial=self.retried)
        self.live = sum(i.state is not InstanceState.FAILED for i in world.instances)
        self.actions: list[Action] = []
        self.wakes: list[float] = []
        self.waiting: list[str] = []
        self.gate = closed(world, now)
        self.short = ""  # what a worker could not be started for, though the ceiling allows it
        self.idle: frozenset[InstanceId] = frozenset()  # ready ones that are not among those that serve
        self.serving = 0  # consumers that are ready and stay so, as far as this plan goes
        self._memory = world.room.workers if world.room is not None else None  # for so many more; None: unlimited
        reserved = [InstanceId.parse(name) for name in world.drained]
        self._slots = {(id.generation, id.slot) for id in [*reserved, *(i.id for i in world.instances)]}

    @property
    def room(self) -> int:
        """How many more may be started. Up to the wanted number nobody asks for memory: workers there have to be."""
        room = self.budget.ceiling - self.live
        return room if self._memory is None else min(room, max(self.wanted - self.live, self._memory))

    def wait_for_room(self, whom: str) -> None:
        """Say what is missing: memory, or others have to leave first."""
        if self.room < self.budget.ceiling - self.live:
            self.short = f"memory for {whom}: {self.world.room}"
            return self.waiting.append(self.short)
        return self.waiting.append(f"room for {whom} within max_surge and max_draining")

    def _grow(self) -> None:
        self.live += 1
        if self._memory is not None:
            self._memory -= 1

    def want(self, desire: Desire, instance: Instance, why: str) -> None:
        world = self.world
        interrupted_at = world.interrupted.get(instance.id)
        action, wake_at = step(desire, instance, world.spec.policy, self.now, why, world.awake_since, interrupted_at)
        if wake_at is not None:
            self.wakes.append(wake_at)
        if isinstance(action, Start):
            if instance.id.generation not in self.world.usable:
                return self.waiting.append(f"the snapshot of generation {instance.id.generation}, which is not there")
            if self.room <= 0:
                return self.wait_for_room(f"{instance.id}, which is to start again")
            self._grow()
        if action is not None:
            self.actions.append(action)
        return None

    def start(self, generation: int, count: int, why: str, whom: str = "") -> None:
        """Start up to ``count`` more within the ceiling, each in the lowest slot that nobody uses."""
        if count > 0 and generation not in self.world.usable:
            return self.waiting.append(f"the snapshot of generation {generation}, which is not there")
        count = max(0, count)
        startable = min(count, max(0, self.room))
        if startable < count:
            self.wait_for_room(whom or f"{count - startable} more of generation {generation}")
        for _ in range(startable):
            slot = next(n for n in range(1, 1 << 16) if (generation, n) not in self._slots)
            self._slots.add((generation, slot))
            self._grow()
            self.actions.append(Start(InstanceId(self.world.spec.name, generation, slot), why))
        return None

    def drain_spare(self, candidates: Sequence[Instance], why: Callable[[Instance], str]) -> None:
        """Drain those that serve nobody yet at once, and ready ones while enough others serve."""
        for instance in sorted(candidates, key=self.worth_draining):
            if instance.state is InstanceState.READY:
                left = self.serving - (instance.id not in self.idle)
                if left < self.budget.floor:
                    continue
                self.serving = left
            self.want(Desire.DRAIN, instance, why(instance))

    def worth_keeping(self, instance: Instance) -> tuple[bool, int, int, float]:
        """The healthy, ready and busy ones: to drain an idle one costs nobody time."""
        rank = {InstanceState.READY: 0, InstanceState.STARTING: 1}.get(instance.state, 2)
        return not self.healthy(instance), rank, -(instance.active_tasks or 0), instance.ready_at or instance.since

    def worth_draining(self, instance: Instance) -> tuple[bool, bool, int, float]:
        """Not yet serving, not yet healthy, idle, those with fewest tasks; an unknown number of tasks is many."""
        tasks = instance.active_tasks if instance.active_tasks is not None else 1 << 30
        serves = instance.state is InstanceState.READY
        return serves, self.healthy(instance), tasks, instance.ready_at or instance.since

    def healthy(self, instance: Instance) -> bool:
        """Was it ready for min_ready, and is it well?"""
        return available(instance, self.world.proof(instance), self.now)

    def judge(self) -> None:
        """Begin and end retrials."""
        target = self.world.state.wanted or 0
        self.actions += [Suspect(target, task, f"{task}: {why}") for task, why in self.found.suspects]
        self.actions += [Clear(target, task, f"{task}: {why}") for task, why in self.found.cleared]
        for evidence in self.found.proved:
            why = f"{evidence}; the old code takes these tasks alone"
            self.actions.append(Verify(target, evidence.task, why, as_record(evidence), evidence.canary.error))
        if self.found.suspects or self.found.proved or self.found.cleared:
            self.wakes.append(self.now)  # the workers are told by the next questions
        if self.found.open:
            self.waiting.append(compared(self.found))
        if (at := look_again(self.world, self.now)) is not None:
            self.wakes.append(at)

    def advance(self) -> None:
        """Name the phase that the rollout is in, if it is another than it was, before what is done in it."""
        world, target = self.world, self.world.state.wanted
        starts = any(isinstance(a, Start) and a.instance.generation == target for a in self.actions)
        now = phase(world, self.now, starts=starts)
        if world.rollout is not None and not world.held and world.rollout.state is not now:
            self.actions.insert(0, Advance(now, MEANS[now]))

    def done(self) -> Plan:
        for instance in self.world.staying(target=True):
            at = healthy_at(instance, self.world.proof(instance))
            if at is None or self.healthy(instance):
                continue
            if instance.ailment is Ailment.IDLE:
                self.waiting.append(f"a worker in the place of {instance.id}, which takes no tasks")
            elif instance.ailment is Ailment.CUT_OFF:
                self.waiting.append(f"{instance.id} to reach its broker")
            elif at > self.now:
                self.wakes.append(at)
                self.waiting.append(f"{instance.id} to stay healthy")
            else:
                self.wakes += [self.now + LOOK_AGAIN] if well(instance) else []
                self.waiting.append(f"{instance.id} to show that its main loop turns")
        if self.gate is not None:
            promote = f"trapctl rollout promote {self.world.spec.name}"
            itself = ", which it does by itself when no message of these tasks is left"
            also = itself if before_canary(self.gate) else ""
            self.waiting.append(f"a person: {self.gate.why}; {promote} lets the rollout go on{also}")
        for deadline in (progress_deadline(self.world, self.now), canary_deadline(self.world)):
            if deadline is not None and deadline > self.now:
                self.wakes.append(deadline)
        self.waiting += [f"{i.id} to be ready" for i in self.world.instances if i.state is InstanceState.STARTING]
        self.waiting += [f"{i.id} to finish its tasks" for i in self.world.leaving()]
        waiting = "; ".join(dict.fromkeys(self.waiting))
        return Plan(
            tuple(self.actions),
            min(self.wakes, default=None),
            waiting,
            self.short,
            figures(self.world, self.now),
            self.gate,
            probations(self.world, self.found, self.now),
        )
