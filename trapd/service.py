"""A controller that takes orders. Each trigger changes what is wanted, records who and why, and wakes the pools."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trapd.controller import Controller
from trapd.errors import HistoryError, RefusedError, SnapshotError, UsageError
from trapd.event import Event, EventKind
from trapd.model import Disk, DiskState, Generation, PoolSpec, PoolState, Rollout, RolloutState
from trapd.rollout import want
from trapd.rollout.refusals import Candidate, candidate, forgive, refusal
from trapd.rollout.story import rollout_of

log = logging.getLogger("trapd.service")
_SETTINGS = "settings of the pool changed"


class Service(Controller):
    """What people and the watch may ask of trapd. Raises RefusedError, in words for people, for what cannot be done."""

    def __init__(self, specs: Sequence[PoolSpec], *, application: str = "", **world: Any) -> None:
        super().__init__(specs, **world)
        self._application = application
        self._launch = {name: want.launch_digest(spec, application) for name, spec in self.specs.items()}
        self._making = asyncio.Lock()  # one snapshot at a time: a later trigger must see what the earlier one made

    # -- the code on disk ------------------------------------------------------------------------------------------

    async def disk_changed(self, disk: Disk, *, actor: str = "watch") -> list[Rollout]:
        """Take note of what is installed; roll out what is new and whole. Raises SnapshotError if it changed again."""
        async with self._making:
            self.disk = disk
            self.notify()
            if disk.state is not DiskState.SETTLED or self.stopping:
                return []
            behind = [name for name in self.specs if self._behind(name)]
            returning = [name for name in behind if self._is_last_good(name)]
            for name in returning:
                self._go_back(name)
            behind = [name for name in behind if name not in returning]
            if not behind:
                self.wake()  # settings may have changed
                return []
            generation = self._number(disk.fingerprint, disk, self._news(behind[0]), actor)
            await self.snapshots.make(generation, disk, list(self.specs.values()))
            # the code that another undo would bring back is that before this one, not that before the one before
            before = {name: replace(self.state(name), undone=None) for name in behind}
            return await self._begin(behind, generation, before=before)

    def _installed(self, name: str) -> Candidate:
        """As the settings in force start it."""
        return Candidate(self.disk.fingerprint, self._application, self._launch[name])

    def _behind(self, name: str) -> bool:
        """Does this pool want something else than what is installed, that was not refused before?"""
        state = self.state(name)
        if state.wanted not in self.generations or state.wanted not in self.snapshots.present():
            return True
        return not self.as_installed(name) and refusal(state, self._installed(name)) is None

    def as_installed(self, pool: str) -> bool:
        """Does this pool want the very code that is installed, under the settings in force?"""
        return self._is_installed(self.state(pool).wanted, pool)

    def _is_installed(self, number: int | None, pool: str) -> bool:
        generation = self.generations.get(number or 0)
        if generation is None or pool not in self.specs or self.disk.state is not DiskState.SETTLED:
            return False
        return candidate(generation, pool) == self._installed(pool)

    async def step(self, name: str) -> float:
        """A pass, and then a rollout of settings that were left behind: they came while other code was wanted."""
        wake_at = await super().step(name)
        if not self._lags(name) or self._making.locked():
            return wake_at
        try:
            async with self._making:
                await self._again([name], _SETTINGS, "trapd")
        except (HistoryError, SnapshotError) as error:
            log.error("%s: cannot roll out other settings yet: %s", name, error)
            return wake_at
        return self.clock.now()

    def _lags(self, name: str) -> bool:
        """Is this pool at rest on the code that it should have, under other settings than those in force?"""
        state = self.state(name)
        wanted = self.generations.get(state.wanted or 0)
        moving = self.stopping or (state.rollout is not None and not state.rollout.state.over)
        if moving or wanted is None or wanted.number not in self.snapshots.present() or name not in self.specs:
            return False
        other = wanted.fingerprint != self.disk.fingerprint
        if self.disk.state is not DiskState.SETTLED or (other and self._behind(name)):
            return False
        launch = want.launch_digest(self.specs[name], wanted.application)
        renewed = replace(candidate(wanted, name), launch=launch)
        return renewed != candidate(wanted, name) and refusal(state, renewed) is None

    def _is_last_good(self, name: str) -> bool:
        """Was a half-made rollout overtaken by the return of what already runs?"""
        state = self.state(name)
        if state.wanted in state.good or state.last_good not in self.snapshots.present():
            return False
        return self._is_installed(state.last_good, name)

    def _go_back(self, name: str) -> None:
        wall, why = self.clock.wall(), "the installed code is the last good generation's again"
        state = want.go_back(self.state(name), why, wall)
        self.save([state], [Event(wall, EventKind.SUPERSEDED, why, "watch", name, generation=state.wanted)])
        self.wake(name)

    def _news(self, name: str) -> str:
        old = self.generations.get(self.state(name).wanted or 0)
        same = old is not None and old.fingerprint == self.disk.fingerprint
        return _SETTINGS if same else want.news(old, self.disk.versions)

    # -- the configuration -----------------------------------------------------------------------------------------

    async def reconfigure(self, specs: Sequence[PoolSpec], *, application: str = "") -> list[Rollout]:
        """Use other settings. Pools whose workers have the old ones fixed in them are rolled; removed ones drain."""
        async with self._making:
            same, self._application = application == self._application, application
            old, self.specs = self._launch, {spec.name: spec for spec in specs}
            self._launch = {name: want.launch_digest(spec, application) for name, spec in self.specs.items()}
            for name in set(old) - set(self.specs):
                self._removed(name)
            changed = [name for name in self.specs if name in old and old[name] != self._launch[name]]
            known = [name for name in changed if self.state(name).wanted in self.generations]
            # a copy starts the application that it was made with
            rollouts = await self._again(known, _SETTINGS, "reload") if same else []
        self.wake()
        # new pools want what is installed, and all do if it is another application
        return rollouts + await self.disk_changed(self.disk, actor="reload")

    def _removed(self, name: str) -> None:
        """Nothing is rolled out there any more."""
        wall, why = self.clock.wall(), "the pool was removed from the configuration"
        for state in want.supersede(self.state(name), why, wall):
            self.save([state], [Event(wall, EventKind.SUPERSEDED, why, "reload", name, generation=state.wanted)])

    # -- people ----------------------------------------------------------------------------------------------------

    async def recycle(self, pools: Sequence[str], *, actor: str, reason: str) -> list[Rollout]:
        """The same code in new processes, as a new generation."""
        async with self._making:
            return await self._again(pools, reason or "recycle", actor)

    async def undo(self, pool: str, *, actor: str) -> Rollout:
        """Back to the good generation before; what is undone is not rolled out again by itself."""
        async with self._making:
            state, current = self.state(pool), self.generations[self._wanted(pool)]
            if state.paused:
                raise RefusedError(f"cannot undo {pool}: it is paused; resume it first")
            under_way = state.rollout is not None and not state.rollout.state.over
            # what is rolled out anew gets the pool's present settings, whatever it had then
            launch = None if under_way else want.launch_digest(self.specs[pool], current.application)
            target = want.undo_target(state, current, self.generations, launch)
            if target is None:
                raise RefusedError(f"cannot undo {pool}: no other good generation is known")
            if flaw := await self.snapshots.flaw(target):
                raise RefusedError(f"cannot undo {pool}: generation {target} cannot start: {flaw}")
            # under way: its workers still run, so back to that very generation instead of replacing them by their like
            reason = f"undo of generation {current.number}"
            fresh = self.generations[target] if under_way else await self._copied(target, reason, actor)
            undone = want.undone(state, current, self.generations[target], self.generations, f"undone by {actor}")
            return (await self._begin([pool], fresh, reason=reason, actor=actor, before={pool: undone}))[0]

    async def flaw(self, number: int) -> str:
        """Why no worker could start from this generation any more; empty where nothing speaks against it."""
        return await self.snapshots.flaw(number)

    async def retry(self, pools: Sequence[str], *, actor: str) -> list[Rollout]:
        """Try again what was refused: the installed code, or a rollout that failed and is held."""
        rollouts = []
        for name in pools:
            state, installed = self._known(name, roll=True), self._installed(name)
            latest = state.rollout
            held = latest is not None and latest.state is RolloutState.FAILED and latest.generation == state.wanted
            if refusal(state, installed) is None and not held:
                continue
            wall, why = self.clock.wall(), f"generation of {installed.fingerprint[:12]} may be tried again"
            self.save([forgive(state, installed)], [Event(wall, EventKind.RETRIED, why, actor, name)])
            if held:
                rollouts += await self.recycle([name], actor=actor, reason="retry")
        rollouts += await self.disk_changed(self.disk, actor=actor)
        if not rollouts:
            raise RefusedError("nothing to retry: no refused generation is what is installed now")
        return rollouts

    async def pause(self, pool: str, *, actor: str) -> None:
        self._set(want.pause(self._known(pool)), EventKind.PAUSED, "by request", actor)

    async def resume(self, pool: str, *, actor: str) -> None:
        self._set(want.resume(self._known(pool), self.clock.now()), EventKind.RESUMED, "by request", actor)

    async def scale(self, pool: str, workers: int, *, actor: str) -> None:
        """So many workers, until scaled again; the configured number ends the override."""
        state, configured = self._known(pool), self.specs[pool].workers
        if workers < 0:
            raise RefusedError(f"cannot scale {pool} to {workers}: fewer than no workers")
        if workers > 1 and self.specs[pool].singleton:
            raise RefusedError(f"cannot scale {pool} to {workers}: it is a singleton, of which there is only ever one")
        override = None if workers == configured else workers
        self._set(replace(state, workers=override), EventKind.SCALED, f"to {workers} (configured: {configured})", actor)

    # -- how a wish is written down --------------------------------------------------------------------------------

    def _known(self, pool: str, *, roll: bool = False) -> PoolState:
        if pool not in self.specs:
            raise UsageError(f"no pool {pool!r}; there are: {', '.join(sorted(self.specs))}")
        if roll and self.stopping:
            raise RefusedError(f"cannot roll {pool}: trapd stops, and its workers with it; start it again first")
        return self.state(pool)

    def _wanted(self, pool: str) -> int:
        wanted = self._known(pool, roll=True).wanted
        if wanted is None or wanted not in self.generations:
            raise RefusedError(f"cannot roll {pool}: no code has settled yet ({self.disk.reason or self.disk.state})")
        return wanted

    def _set(self, state: PoolState, kind: EventKind, why: str, actor: str) -> None:
        rollout = rollout_of(state, state.wanted)  # whose story it is part of
        self.save([state], [Event(self.clock.wall(), kind, why, actor, state.pool, rollout, state.wanted)])
        log.info("%s: %s %s, by %s", state.pool, kind, why, actor, extra={"fields": {"POOL": state.pool}})
        self.wake(state.pool)
        self.notify()

    def _number(self, fingerprint: str, like: Disk | Generation, reason: str, actor: str) -> Generation:
        application = like.application if isinstance(like, Generation) else self._application
        return Generation(
            number=self._next_number(),
            fingerprint=fingerprint,
            versions=dict(like.versions),
            launch={name: want.launch_digest(spec, application) for name, spec in self.specs.items()},
            reason=reason,
            actor=actor,
            wall=self.clock.wall(),
            eager=like.eager,
            application=application,
        )

    def _next_number(self) -> int:
        """Never one whose snapshot is there: a person may have moved a damaged history away, so that it begins anew."""
        with self.writing():
            while (number := self.journal.next_generation()) in self.snapshots.present():
                pass
        return number

    async def _again(self, pools: Sequence[str], reason: str, actor: str) -> list[Rollout]:
        """What each of them wants, under a new number."""
        by_source: dict[int, list[str]] = {}
        for name in pools:
            by_source.setdefault(self._wanted(name), []).append(name)
        rollouts = []
        for source, names in by_source.items():
            rollouts += await self._begin(names, await self._copied(source, reason, actor))
        return rollouts

    async def _copied(self, source: int, reason: str, actor: str) -> Generation:
        """A new number for an old fingerprint."""
        old = self.generations[source]
        generation = self._number(old.fingerprint, old, reason, actor)
        await self.snapshots.copy(generation, source, list(self.specs.values()))
        return generation

    async def _begin(
        self,
        pools: Sequence[str],
        generation: Generation,
        *,
        reason: str = "",
        actor: str = "",
        before: Mapping[str, PoolState] | None = None,
    ) -> list[Rollout]:
        """``before``: of a pool that is changed by the same stroke, as it is without the new rollout."""
        reason, actor = reason or generation.reason, actor or generation.actor
        states: list[PoolState] = []
        try:
            for name in pools:
                with self.writing():
                    rollout = self.journal.next_rollout()
                state = (before or {}).get(name) or self.state(name)
                now, wall = self.clock.now(), self.clock.wall()
                states += want.begin(state, generation, rollout, reason=reason, actor=actor, now=now, wall=wall)
            begun = [s.rollout for s in states if s.rollout is not None and not s.rollout.state.over]
            wall = self.clock.wall()
            events = [Event(wall, EventKind.WANTED, reason, actor, r.pool, r.id, generation.number) for r in begun]
            self.save(states, events, [generation])
        except HistoryError:
            if generation.number not in self.generations:  # nobody would ever use its snapshot
                await self.snapshots.remove(generation.number)
            raise
        for r in begun:
            fields = {"POOL": r.pool, "GENERATION": str(r.generation), "ROLLOUT": str(r.id)}
            log.info("%s: generation %d is wanted: %s", r.pool, r.generation, reason, extra={"fields": fields})
        self.wake()
        self.notify()
        return begun
