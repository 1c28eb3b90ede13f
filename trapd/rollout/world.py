"""What a plan is made from: one pool at one moment, and the questions a planner asks of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from trapd.contracts import FRESH_AGAIN
from trapd.model import (
    Ailment,
    FailureKind,
    Instance,
    InstanceId,
    InstanceState,
    PoolState,
    Rollout,
    RolloutState,
    WorkerOrder,
)
from trapd.rollout.room import Room
from trapd.rollout.truth import available, well
from trapd.spec import PoolSpec
from trapd.work import Work

# Not those that are stopping: one that has just crashed is, until its backend knows how it ended. To replace it then
# would forget its failures, and with them the pause before the next try and the blame.
_LEAVING = frozenset({InstanceState.DRAINING})

# A worker that says itself that its code failed, or hangs while it imports, will do so again; anything else
# (killed, out of memory, a segfault) may be a passing trouble of the machine.
# Whom its broker ended is never tried too often: it did work.
TRIES = {
    FailureKind.CODE: 1,
    FailureKind.TIMEOUT: 1,
    FailureKind.WATCHDOG: 3,
    FailureKind.MEMORY: 3,
    FailureKind.CRASH: 3,
}


@dataclass(frozen=True, slots=True)
class World:
    """One pool as it is wanted and as it is seen. ``usable``: generations whose snapshot is there.

    ``awake_since``: since when trapd itself has not stood still; what was due before is due anew (B13).
    ``going_down``: the machine does; systemd then stops every worker itself, and nothing is left to decide.
    ``other_settings``: why the wanted generation should be started anew, other settings being in force; else empty.
    ``sources``: good generations whose code may be tried with the wanted one's celeryconfig (halves.py); ``reunites``:
    what was taken apart so may be rolled out again as a whole.
    ``works``: what those of its workers account for that were asked (rollout/trial.py).
    ``tasks``: the registered tasks of each generation that has told them.
    ``pinned``: the generations with the code that runs hold; None: no run holds any.
    ``room``: for how many more workers there is memory; None: that is asked only when a plan would use it.
    ``interrupted``: when the tasks of a draining worker were interrupted; -inf: none of its tasks could be.
    """

    spec: PoolSpec
    state: PoolState
    instances: tuple[Instance, ...]
    usable: frozenset[int]
    eager: bool = False
    stopping: bool = False
    awake_since: float = 0.0
    going_down: bool = False
    other_settings: str = ""
    sources: frozenset[int] = frozenset()
    reunites: bool = False
    room: Room | None = None
    interrupted: Mapping[InstanceId, float] = field(default_factory=dict)
    works: Mapping[InstanceId, Work] = field(default_factory=dict)
    tasks: Mapping[int, Collection[str]] = field(default_factory=dict)
    pinned: frozenset[int] | None = None

    @property
    def wanted_workers(self) -> int:
        return 0 if self.stopping or self.eager else wanted_workers(self.spec, self.state)

    @property
    def proven(self) -> bool:
        return self.state.wanted in self.state.good

    @property
    def fallback(self) -> int | None:
        """The generation that serves while the wanted one is not proven: the last good one. Where none ever was good,
        the one before: what serves, however doubtful, is worth more than what has not even started. While runs hold
        the code, none that has other code."""
        usable = self.usable if self.pinned is None else self.usable & self.pinned
        if self.state.good:
            return next((g for g in reversed(self.state.good) if g != self.state.wanted and g in usable), None)
        previous = self.rollout.previous if self.rollout is not None else None
        return previous if previous != self.state.wanted and previous in usable else None

    @property
    def old_tasks(self) -> Collection[str]:
        """Names of tasks that the good generation before has; none where it has not told them."""
        return self.tasks.get(self.fallback, ()) if self.fallback is not None else ()

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way, if any."""
        rollout = self.state.rollout
        return None if rollout is None or rollout.state.over or rollout.generation != self.state.wanted else rollout

    @property
    def tentative(self) -> bool:
        """The quiet period is not over: what is rolled out may still be changed, so nobody is told to go for it."""
        return self.rollout is not None and self.rollout.state is RolloutState.TENTATIVE

    @property
    def held(self) -> bool:
        """Nothing moves: paused by a person, or failed with on_failure = "hold" while another generation is good."""
        latest = self.state.rollout
        failed_here = (
            latest is not None and latest.state is RolloutState.FAILED and latest.generation == self.state.wanted
        )
        return self.state.paused or (failed_here and not self.proven and self.fallback is not None)

    @property
    def lost(self) -> bool:
        """Nothing of the wanted generation runs, nor can be started; a good one can."""
        alive = any(i.state is not InstanceState.FAILED for i in self.staying(target=True))
        return self.fallback is not None and self.state.wanted not in self.usable and not alive

    @property
    def drained(self) -> Mapping[str, WorkerOrder]:
        """By worker, what a person ordered to drain, be the worker there or not."""
        return {order.worker: order for order in self.state.drained}

    def leaving(self) -> list[Instance]:
        """Those that drain, and those that a person ordered to."""
        return [i for i in self.instances if i.state in _LEAVING or i.id.name in self.drained]

    def staying(self, *, target: bool) -> list[Instance]:
        """Those of the wanted generation, or all others, that were not told to leave."""
        leaving = {i.id for i in self.leaving()}
        return [i for i in self.instances if (i.id.generation == self.state.wanted) is target and i.id not in leaving]

    def available(self, now: float) -> list[Instance]:
        """Those of the wanted generation that were ready for min_ready and are well."""
        return [i for i in self.staying(target=True) if available(i, self.proof(i), now)]

    def taking_over(self, now: float) -> list[Instance]:
        """Those of the wanted generation for which old ones may go. Once the generation is proven, the rest need not
        prove it again: they are ready and well. One that failed has to prove itself, for it may fail again."""
        if not self.proven:
            return self.available(now)
        fit = [i for i in ready(self.staying(target=True)) if well(i)]
        return [i for i in fit if not i.failures or available(i, self.proof(i), now)]

    def proof(self, instance: Instance) -> float:
        """Seconds for which it has to be well after READY. One of a generation that is not proven, and that hung
        before, or failed again and again, has to live longer than what brings a generation into doubt. So has one of a
        generation that could not be judged before, whose first workers are forgotten (halves.py)."""
        ready_at = instance.ready_at or instance.since
        longer = 0.0 if self.proven else self._doubtful(instance)
        return max(self.spec.policy.min_ready, longer) + max(0.0, self.awake_since - ready_at)

    def _doubtful(self, instance: Instance) -> float:
        """Three lives that hang come in one progress_deadline; three that end otherwise, before any is forgiven."""
        failed_before = self.state.apart is not None and self.state.wanted == self.state.apart.whole
        kind = instance.failure.kind if instance.failure is not None else FailureKind.BROKER
        if kind is FailureKind.WATCHDOG:
            return self.spec.policy.progress_deadline / TRIES[kind]
        loops = kind in TRIES and instance.failures >= TRIES[FailureKind.CRASH]
        return FRESH_AGAIN if loops or failed_before else 0.0

    @property
    def cut_off(self) -> bool:
        """Is the broker away, for all that can be seen? New workers alone do not prove that, beside others."""
        seen = self.staying(target=False) or self.staying(target=True)
        return any(i.ailment is Ailment.CUT_OFF for i in seen)


def wanted_workers(spec: PoolSpec, state: PoolState) -> int:
    """The workers that are to run: nobody takes the place of one that a person drained."""
    return max(0, full_strength(spec, state) - len(state.drained))


def full_strength(spec: PoolSpec, state: PoolState) -> int:
    """As configured, or as somebody scaled the pool; of a singleton never more than one."""
    wanted = spec.workers if state.workers is None else state.workers
    return min(wanted, 1) if spec.singleton else wanted


def none_wanted(world: World) -> str:
    """Why no workers are wanted."""
    if world.stopping:
        return "trapd stops"
    if world.eager:
        return "tasks run in their submitter's process"
    if full_strength(world.spec, world.state):
        return "every worker of the pool is drained by request"
    return "scaled to 0" if world.state.workers == 0 else "no workers are configured"


def scaled_otherwise(spec: PoolSpec, state: PoolState, when: Callable[[float], str] | None = None) -> str:
    """That a pool was scaled to another number than trapd.toml says, by whom and ``when``, with the way back; empty if
    it was not. ``when`` makes words of seconds since the epoch."""
    if state.workers is None or state.workers == spec.workers:
        return ""
    actor = f" by {state.scaled_by}" if state.scaled_by else ""
    time = f", {when(state.scaled_wall)}" if when and state.scaled_wall is not None else ""
    return (
        f"pool {spec.name} was scaled to {state.workers}{actor}{time}; trapd.toml says {spec.workers}: "
        f"trapctl scale {spec.name} --reset goes back to it"
    )


def of_strength(world: World, instance: Instance) -> bool:
    """Part of the pool's strength: of a good generation, or at work already, whatever it is."""
    return trusted(world, instance) or instance.state is InstanceState.READY


def trusted(world: World, instance: Instance) -> bool:
    return instance.id.generation in (*world.state.good, world.fallback)


def ready(instances: Iterable[Instance]) -> list[Instance]:
    return [i for i in instances if i.state is InstanceState.READY]


def exhausted(instance: Instance) -> bool:
    """Has this failed often enough to ask whose fault it is?"""
    return (
        instance.state is InstanceState.FAILED
        and instance.failure is not None
        and instance.failure.kind is not FailureKind.BROKER
        and instance.failures >= TRIES[instance.failure.kind]
    )
