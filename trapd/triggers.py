"""What the watch, the settings and people ask of trapd. What each means is an intent; here it is carried out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from trapd import beginning, new_generation
from trapd.controller import Controller
from trapd.errors import HistoryError, RefusedError, UsageError
from trapd.event import Event, EventKind
from trapd.model import Disk, DiskState, Instance, PoolState, Rollout, WorkerOrder
from trapd.rollout import changes, condition, halves, intent, lost_end, orders, want, worker_orders
from trapd.rollout.actions import Renew, Turn
from trapd.rollout.events import gave_way, rollout_of
from trapd.rollout.intent import (
    Cause,
    Confirm,
    CopyOf,
    FromDisk,
    GoBack,
    Intent,
    Nothing,
    Received,
    ReturnTo,
    Situation,
    Trigger,
)
from trapd.rollout.refusals import forgive
from trapd.rollout.world import scaled_otherwise
from trapd.spec import Application, PoolSpec

log = logging.getLogger("trapd.triggers")


class Triggers:
    """Each changes what is wanted, records who and why, and wakes the pools of its controller.

    Raises RefusedError, in words for people, for what cannot be done; HistoryError or SnapshotError if it cannot be
    written down or copied. Then nothing has changed.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self._logged: dict[str, set[object]] = {}  # what was logged to mean nothing since a pool last moved
        controller.renew = self._renew
        self._unknown_until = 0  # generations up to this one may be missing in the history
        self.take_as_it_is: Callable[[], Awaitable[str]] = _nothing  # see Watch

    # -- the history -----------------------------------------------------------------------------------------------

    def compare(self, seen: Sequence[Instance]) -> None:
        """At the start: the history with what is there. If the history lost its end, nothing that runs is undone."""
        known, clock = self.controller, self.controller.clock
        now, wall = clock.now(), clock.wall()
        last = known.history.last_generation()
        there = known.snapshots.present() | {instance.id.generation for instance in seen}
        newest = lost_end.newest(last, there)
        if newest is not None or not last:  # not last: begun anew, with what is there from before
            with contextlib.suppress(HistoryError), known.writing():
                while known.history.last_generation() < max(there, default=0):
                    known.history.next_generation()  # no number is given twice
        if newest is None:
            return
        self._unknown_until = newest
        log.error("%s", self.lost_end)
        with contextlib.suppress(HistoryError):
            of = {name: [instance for instance in seen if instance.id.pool == name] for name in known.specs}
            before = [known.state(name) for name in known.specs]
            after = [lost_end.as_seen(state, last, of[state.pool], wall) for state in before]
            events = [
                event for pair in zip(before, after, strict=True) for event in gave_way(*pair, "trapd", now, wall)
            ]
            known.save(after, events)

    @property
    def lost_end(self) -> str:
        """What is missing in the history; empty if nothing is."""
        return lost_end.problem(self._unknown_until, self.controller.generations, self.controller.states.values())

    # -- the code on disk ------------------------------------------------------------------------------------------

    async def disk_changed(self, disk: Disk, *, actor: str = "watch") -> list[Rollout]:
        """Take note of what is installed; roll out what is new and whole. Raises SnapshotError if it changed again."""
        known = self.controller
        async with known.making:
            known.disk = self._named(disk, actor)
            disk = known.disk
            known.notify()
            meant = {name: intent.after_disk(known.situation(name)) for name in known.specs}
            for name, what in list(meant.items()):
                self._receive(name, Trigger.DISK, what, actor)
                if isinstance(what, GoBack):
                    self._go_back(name, what, actor)
                    meant[name] = intent.after_disk(known.situation(name))
                elif isinstance(what, Confirm):
                    self._confirm(name, what, actor)
            behind = {name: what for name, what in meant.items() if isinstance(what, FromDisk)}
            if not behind:
                known.wake()  # settings may have changed
                return []
            reason = next(iter(behind.values())).why
            generation = await new_generation.installed(known, reason, actor)
            # the code that another undo would bring back is that before this one, not that before the one before
            before = {name: replace(known.state(name), undone=None) for name in behind}
            tentative = disk.state is DiskState.TENTATIVE
            return await beginning.begin(known, list(behind), generation, before=before, tentative=tentative)

    def _named(self, disk: Disk, actor: str) -> Disk:
        """The disk under the fingerprint of the generation that it is, if it is one. What changed on it and counts for
        no generation is told."""
        known, wall = self.controller, self.controller.clock.wall()
        if not disk.whole:
            return disk
        wanted = {state.wanted for state in known.states.values()}
        newest = sorted(known.generations.values(), key=lambda g: (g.number in wanted, g.number), reverse=True)
        named = changes.recognised(disk, newest)
        if disk.state is DiskState.TENTATIVE:
            return named
        there = [generation for generation in newest if changes.is_installed(generation, disk)]
        met = [g if g.distributions else changes.with_table(g, named) for g in there if named.distributions]
        met = [condition.met(generation, named) for generation in met]
        events = []
        if known.settled is not None and (found := changes.unaffected(known.settled, named)):
            why = f"{changes.sentence(found)}: {changes.NO_EFFECT}"
            events = [Event(wall, EventKind.NO_EFFECT, why, actor)]
            log.info("no effect: %s", why)
        with contextlib.suppress(HistoryError):  # it is known again at the next change
            known.save([], events, [g for g in met if g != known.generations[g.number]])
        known.settled = named
        return named

    def _go_back(self, name: str, what: GoBack, actor: str) -> None:
        known, clock = self.controller, self.controller.clock
        now, wall = clock.now(), clock.wall()
        before = known.state(name)
        state = want.go_back(before, what.why, wall)
        known.save([state], gave_way(before, state, actor, now, wall))
        known.wake(name)

    def _confirm(self, name: str, what: Confirm, actor: str) -> None:
        state = want.confirm(self.controller.state(name), self.controller.clock.now())
        self._set(state, EventKind.PREFLIGHT, what.why, actor)

    # -- the configuration -----------------------------------------------------------------------------------------

    async def reconfigure(self, specs: Sequence[PoolSpec], *, application: Application) -> list[Rollout]:
        """Use other settings. Pools whose workers have the old ones fixed in them are rolled; removed ones drain."""
        known = self.controller
        async with known.making:
            before = {name: known.situation(name) for name in known.specs}
            known.specs, known.application = {spec.name: spec for spec in specs}, application
            for name in set(before) - set(known.specs):
                self._removed(name)
            meant = {n: intent.after_reload(before[n], known.situation(n)) for n in known.specs if n in before}
            for name, what in meant.items():
                self._receive(name, Trigger.RELOAD, what, "reload")
                if override := scaled_otherwise(known.specs[name], known.state(name)):
                    log.warning("%s", override, extra={"fields": {"POOL": name}})
            rollouts = await beginning.copies(known, meant, "reload")
        known.wake()
        # new pools want what is installed, and all do if it is another application
        return rollouts + await self.disk_changed(known.disk, actor="reload")

    def _removed(self, name: str) -> None:
        """Nothing is rolled out there any more."""
        known, why = self.controller, "the pool was removed from the configuration"
        before, now, wall = known.state(name), known.clock.now(), known.clock.wall()
        for state in want.supersede(before, why, wall):
            known.save([state], gave_way(before, state, "reload", now, wall))

    async def _renew(self, pool: str, action: Turn) -> bool:
        """Begin what a pass has planned. False if that is not to be by now: another trigger may have come between."""
        known = self.controller
        async with known.making:
            situation = known.situation(pool)
            if isinstance(action, Renew):
                left = intent.left_behind(situation)
                planned = isinstance(left, CopyOf) and (left.generation, left.why) == (action.generation, action.why)
                as_planned = planned and not situation.under_way
                return as_planned and bool(await beginning.copies(known, {pool: left}, "trapd"))
            if (what := halves.meant(situation, action)) is not None:
                goal = await new_generation.meant(known, what, "trapd")
                apart = halves.apart(situation.state, action, goal.number)
                return bool(await beginning.begin(known, [pool], goal, reason=what.why, actor="trapd", apart=apart))
            if (state := halves.forgotten(situation, action)) is None:
                return False
            known.save([state], [])
        await self.disk_changed(known.disk, actor="trapd")
        return True

    # -- people ----------------------------------------------------------------------------------------------------

    async def recycle(self, pools: Sequence[str], *, actor: str, reason: str) -> list[Rollout]:
        """The same code in new processes, as a new generation; see orders.to_recycle."""
        known = self.controller
        async with known.making:
            meant: dict[str, CopyOf | FromDisk] = {}
            for name in pools:
                what = orders.to_recycle(self._situation(name), reason or "recycle")
                self._receive(name, Trigger.RECYCLE, what, actor)
                if isinstance(what, Nothing):
                    raise _impossible(Trigger.RECYCLE, name, what)
                meant[name] = what
            rollouts = []
            if anew := [name for name, what in meant.items() if isinstance(what, FromDisk)]:
                same = {known.state(name).wanted for name in anew}
                generation = await new_generation.installed(known, meant[anew[0]].why, actor, beside=same)
                early = known.disk.state is DiskState.TENTATIVE
                rollouts += await beginning.begin(known, anew, generation, tentative=early)
            return rollouts + await beginning.copies(known, meant, actor)

    async def undo(self, pool: str, *, actor: str, to: int | None = None, settings: bool = False) -> Rollout:
        """Back to the good code before, or to the generation ``to``; what is undone is not rolled out again by itself.
        The celeryconfig in force stays in force, unless ``settings`` are to go back as well."""
        known = self.controller
        async with known.making:
            situation = self._situation(pool)
            flaws = {n: flaw for n in known.generations if (flaw := await known.snapshots.flaw(n))}
            there = await known.backend.observe()
            what = orders.to_undo(situation, to, settings=settings, flaws=flaws, there=there)
            self._receive(pool, Trigger.UNDO, what, actor)
            if isinstance(what, Nothing):
                raise _impossible(Trigger.UNDO, pool, what)
            state, target = situation.state, known.generations[what.generation]
            current = known.generations[situation.on_trial or 0]
            goal = await new_generation.meant(known, what, actor)
            why, wall = f"undone by {actor}", known.clock.wall()
            undone = want.undone(state, current, target, known.generations, why, wall)
            if settings:  # nor does the installed celeryconfig come back under the old code
                undone = want.unless_as(undone, goal, situation.as_copied(goal).fingerprint, why, wall)
            if want.needs_no_canary(state, current, target, goal):
                undone = want.with_good(undone, goal.number)
            return (await beginning.begin(known, [pool], goal, reason=what.why, actor=actor, before={pool: undone}))[0]

    async def retry(self, pools: Sequence[str], *, actor: str) -> list[Rollout]:
        """Try again what was refused: the installed code, or a rollout that failed and is held."""
        known, rollouts = self.controller, list[Rollout]()
        if taken := await self.take_as_it_is():
            why = f"what is installed is taken as it is: {taken}"
            known.save([], [Event(known.clock.wall(), EventKind.RETRIED, why, actor, name) for name in pools])
        for name in pools:
            what = orders.to_retry(self._situation(name))
            not_refused = isinstance(what, Nothing) and what.cause is Cause.NOT_REFUSED
            if not (taken and not_refused):  # else it means what the watch has made of it
                self._receive(name, Trigger.RETRY, what, actor)
            if not_refused:
                continue
            if isinstance(what, Nothing):
                raise _impossible(Trigger.RETRY, name, what)
            state, wall = forgive(known.state(name), known.situation(name).installed), known.clock.wall()
            known.save([state], [Event(wall, EventKind.RETRIED, what.why, actor, name)])
            if what.held is not None:
                rollouts += await self.recycle([name], actor=actor, reason="retry")
        rollouts += await self.disk_changed(known.disk, actor=actor)
        if taken:  # the watch may have begun them meanwhile
            mine = [
                known.state(name).rollout
                for name in pools
                if known.situation(name).is_installed(known.state(name).wanted)
            ]
            rollouts += [r for r in mine if r is not None and not r.state.over and r not in rollouts]
        elif not rollouts:
            raise RefusedError("nothing to retry: no refused generation is what is installed now")
        return rollouts

    async def pause(self, pool: str, *, actor: str) -> None:
        self._set(want.pause(self._known(pool)), EventKind.PAUSED, "by request", actor)

    async def resume(self, pool: str, *, actor: str) -> None:
        self._set(want.resume(self._known(pool), self.controller.clock.now()), EventKind.RESUMED, "by request", actor)

    async def promote(self, pool: str, *, actor: str) -> None:
        """Let a rollout go on that waits for a person."""
        state, gate = self._known(pool), (await self.controller.observe(pool)).gate
        if gate is None:
            raise RefusedError(f"cannot promote {pool}: no rollout there waits for a person; see trapctl status")
        self._set(want.opened(state, gate.gate, self.controller.clock.now()), EventKind.OPENED, gate.why, actor)

    async def scale(self, pool: str, workers: int, *, actor: str) -> None:
        """So many workers, until scaled again; the configured number ends the override."""
        state, configured = self._known(pool), self.controller.specs[pool].workers
        if workers < 0:
            raise RefusedError(f"cannot scale {pool} to {workers}: fewer than no workers")
        if workers > 1 and self.controller.specs[pool].singleton:
            raise RefusedError(f"cannot scale {pool} to {workers}: it is a singleton, of which there is only ever one")
        state = want.scaled(state, None if workers == configured else workers, actor, self.controller.clock.wall())
        self._set(state, EventKind.SCALED, f"to {workers} (configured: {configured})", actor)

    async def drain(self, worker: str, *, actor: str, reason: str) -> None:
        """The worker finishes what it has, and none takes its place until it is undrained."""
        order, instance = await self._order(worker, actor, reason)
        known, why = self._known(worker_orders.parse(worker).pool), worker_orders.because("drained", order)
        if (state := worker_orders.drain(known, order, instance)) != known:
            self._set(state, EventKind.DRAINED, f"{worker}: {why}", actor)

    async def undrain(self, worker: str, *, actor: str) -> None:
        known = self._known(worker_orders.parse(worker).pool)
        self._set(worker_orders.undrain(known, worker), EventKind.UNDRAINED, f"{worker}: by request", actor)

    async def recycle_worker(self, worker: str, *, actor: str, reason: str) -> None:
        """Replace one worker by one with the same code, new before old."""
        order, instance = await self._order(worker, actor, reason)
        state = worker_orders.recycle(self._known(worker_orders.parse(worker).pool), order, instance)
        self._set(state, EventKind.RECYCLED, f"{worker}: {worker_orders.because('recycled', order)}", actor)

    async def _order(self, worker: str, actor: str, reason: str) -> tuple[WorkerOrder, Instance | None]:
        known, id = self.controller, worker_orders.parse(worker)
        self._known(id.pool)
        instance = next((i for i in await known.backend.observe() if i.id == id), None)
        return WorkerOrder(id.name, actor, known.clock.wall(), known.clock.now(), reason), instance

    # -- how an intent is carried out ------------------------------------------------------------------------------

    def _known(self, pool: str) -> PoolState:
        if pool not in self.controller.specs:
            raise UsageError(f"no pool {pool!r}; there are: {', '.join(sorted(self.controller.specs))}")
        return self.controller.state(pool)

    def _situation(self, pool: str) -> Situation:
        self._known(pool)
        return self.controller.situation(pool)

    def _receive(self, pool: str, trigger: Trigger, what: Intent, actor: str) -> None:
        """Keep what a trigger means, for `trapctl why`, and log what begins no rollout, once until one begins."""
        known, nothing = self.controller, isinstance(what, Nothing)
        if not (nothing and trigger is Trigger.DISK):  # that PoolView.installed says at any time
            known.received[pool] = Received(known.clock.wall(), trigger, actor, what)
        logged = self._logged.setdefault(pool, set())
        if not nothing:
            logged.clear()
        if isinstance(what, FromDisk | CopyOf | ReturnTo):
            return  # _begin logs it, when that is written down
        # a change that goes on is logged by the watch, path by path
        mark = what.cause if isinstance(what, Nothing) and what.cause is Cause.UNSETTLED else what
        if mark not in logged:
            logged.add(mark)
            log.info("%s: %s: %s", pool, trigger, what, extra={"fields": {"POOL": pool}})

    def _set(self, state: PoolState, kind: EventKind, why: str, actor: str) -> None:
        known, rollout = self.controller, rollout_of(state, state.wanted)  # whose story it is part of
        known.save([state], [Event(known.clock.wall(), kind, why, actor, state.pool, rollout, state.wanted)])
        log.info("%s: %s %s, by %s", state.pool, kind, why, actor, extra={"fields": {"POOL": state.pool}})
        known.wake(state.pool)
        known.notify()


async def _nothing() -> str:
    return ""


def _impossible(order: Trigger, pool: str, what: Nothing) -> RefusedError:
    if what.cause is Cause.REJECTED:
        return RefusedError(f"nothing to {order}: {what.why}")
    return RefusedError(f"cannot {order} {pool}: {what.why}")
