"""The one place that collects what is not as desired: of trapd itself, of the disk, of each pool and its workers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from trapd.control import incidents
from trapd.control.drains import Waits, overdue
from trapd.control.needs import Context
from trapd.control.outlook import held_back
from trapd.control.withheld import When, ago, all_withheld, beneath, withheld
from trapd.durations import age
from trapd.model import Ailment, Disk, DiskState, Instance, InstanceState, Rollout, RolloutState
from trapd.problem import Problem, ProblemKind
from trapd.rollout.intent import Nothing
from trapd.rollout.trial import retrials
from trapd.rollout.truth import code_state, serves
from trapd.rollout.view import PoolView
from trapd.sizes import counted
from trapd.troubles import alike

NOT_LEAVING = ("did not leave", "not leaving")  # in the status of one that hangs in its drain
_UNREACHABLE = re.compile(r"(.+) unreachable for (\d+) s")  # the status of one that is cut off (worker/health.py)


def collect(
    context: Context, views: Sequence[PoolView], troubles: Sequence[str], waits: Waits, eager: bool
) -> tuple[Problem, ...]:
    """Return all problems with their ages: trapd's own, the disk's, and each pool's in the order of ``views``.

    ``troubles``: those of trapd itself; ``waits``: the tasks that drains wait for; ``eager``: no worker is needed.
    """
    found = [*_of_trapd(context.about.state(), troubles), *_of_disk(context.controller.disk)]
    for view in views:
        if view.instances or not eager:
            found += _of_pool(context, view, waits)
    return context.ages.given(found, context.clock.wall())


def of_installed(context: Context, views: Iterable[PoolView]) -> tuple[Problem, ...]:
    """Return what keeps installed code from running in these pools until somebody does something, with its age."""
    refused = [problem for view in views for problem in _refused(context, view)]
    return context.ages.dated([*_of_disk(context.controller.disk), *refused], context.clock.wall())


def missing(disk: Disk, views: Sequence[PoolView], when: When) -> list[str]:
    """Return what workers need and do not have: code that is whole, code that is installed, and a broker."""
    away = [problem.text for view in views for problem in _away(view)]
    return [*(problem.text for problem in _of_disk(disk)), *all_withheld(disk, views, when), *away]


def ready(view: PoolView) -> int:
    """Return how many workers do their work, for all that is known."""
    return sum(serves(instance) for instance in view.instances)


def _of_trapd(state: str, troubles: Sequence[str]) -> Iterator[Problem]:
    """Until it runs, and once it stops, it wants no workers: then every pool has what it wants and nothing is said."""
    if state != "running":
        yield Problem(ProblemKind.TRAPD, f"trapd is {state}")
    for trouble in troubles:
        yield Problem(ProblemKind.TROUBLE, trouble, about=alike(trouble))


def _of_disk(disk: Disk) -> Iterator[Problem]:
    if disk.state is DiskState.BROKEN:
        why = disk.reason or "no reason known"
        yield Problem(ProblemKind.BROKEN, f"what is installed is broken and not rolled out: {why}")


def _of_pool(context: Context, view: PoolView, waits: Waits) -> Iterator[Problem]:
    """Why this pool is not as desired. A rollout that goes on well is no problem."""
    name, rollout = view.spec.name, view.state.rollout
    if (count := ready(view)) < view.wanted_workers:
        yield Problem(ProblemKind.TOO_FEW, f"{count} of {view.wanted_workers} workers are ready", name)
    yield from _refused(context, view)
    yield from _away(view)
    going_on = rollout is not None and not rollout.state.over
    if view.state.paused and not going_on:
        yield Problem(ProblemKind.PAUSED, "it is paused", name)
    for instance in view.instances:
        yield from _failed(context, instance)
    compares = rollout is not None and rollout.state is RolloutState.COMPLETE and bool(retrials(rollout))
    yield from _of_code(view, going_on or compares)
    for instance in view.instances:
        yield from _hanging(context, instance)
    yield from incidents.problems(context, view)
    yield from overdue(context, view, waits)


_WORD = {RolloutState.REJECTED: "rejected", RolloutState.FAILED: "given up"}


def _refused(context: Context, view: PoolView) -> Iterator[Problem]:
    """What was refused and was then taken back, by pip or in trapd.toml, is nobody's problem any more."""
    controller, state, rollout = context.controller, view.state, view.state.rollout
    taken_back = rollout and rollout.generation != state.wanted and controller.as_installed(view.spec.name)
    proved_later = rollout and rollout.generation in state.good  # it failed, and there was nothing to go back to
    when = ago(context.clock.wall())
    kept = withheld(controller.disk, view, when)
    if kept:
        yield _kept(controller.disk, view, rollout, kept)
    elif beneath_it := beneath(controller.disk, view, controller.generations, when):
        yield Problem(ProblemKind.WITHHELD, beneath_it, view.spec.name)
    elif rollout and rollout.state in _WORD and not taken_back and not proved_later:
        text = f"generation {rollout.generation} was {_WORD[rollout.state]}: {rollout.reason}"
        yield Problem(ProblemKind.REJECTED, text, view.spec.name, since=rollout.ended_wall or 0.0)


def _kept(disk: Disk, view: PoolView, rollout: Rollout | None, text: str) -> Problem:
    if held_back(disk, view):
        refusal = view.installed.refusal if isinstance(view.installed, Nothing) else None
        return Problem(ProblemKind.WITHHELD, text, view.spec.name, since=refusal.wall if refusal is not None else 0.0)
    if rollout is not None and rollout.state.over:
        return Problem(ProblemKind.WITHHELD, text, view.spec.name, since=rollout.ended_wall or 0.0)
    return Problem(ProblemKind.HELD, text, view.spec.name)


def _away(view: PoolView) -> Iterator[Problem]:
    """Workers that cannot reach their broker, or their result backend."""
    longest: dict[str, int] = {}
    count: Counter[str] = Counter()
    for instance in view.instances:
        if instance.ailment is Ailment.CUT_OFF:
            found = _UNREACHABLE.match(instance.status)
            whom, seconds = (found[1], int(found[2])) if found else ("broker", 0)
            count[whom], longest[whom] = count[whom] + 1, max(seconds, longest.get(whom, 0))
    name = view.spec.name
    for whom in sorted(count):
        text = f"{counted(count[whom], 'worker')} of pool {name} cannot reach the {whom}, for {age(longest[whom])}"
        yield Problem(ProblemKind.CUT_OFF, text, name, about=whom)


def _failed(context: Context, instance: Instance) -> Iterator[Problem]:
    failure, of = instance.failure, (instance.id.pool, instance.id.name)
    if instance.state is InstanceState.FAILED:
        why = failure.summary if failure else instance.status or "no reason known"
        since = context.moment(failure.at) if failure else 0.0
        yield Problem(ProblemKind.FAILED, f"{instance.id} failed: {why}", *of, since=since)
    elif instance.state is InstanceState.STARTING and instance.failures and failure:
        text = f"{instance.id} starts again, it failed {counted(instance.failures, 'time')}: {failure.summary}"
        yield Problem(ProblemKind.RESTARTING, text, *of)


def _of_code(view: PoolView, rolling: bool) -> Iterator[Problem]:
    serving = [instance for instance in view.instances if instance.state is InstanceState.READY]
    codes = Counter(code_state(instance, view.state.wanted) for instance in serving)
    name, wanted = view.spec.name, view.state.wanted
    if codes["mixed"]:
        replaced = sorted({file for i in view.instances if i.report for file in i.report.replaced})
        how = f"old and newer modules ({', '.join(replaced[:3])})" if replaced else "code from outside the snapshot"
        yield Problem(ProblemKind.MIXED, f"{counted(codes['mixed'], 'worker')} loaded {how}", name)
    if codes["unknown"]:
        text = f"{counted(codes['unknown'], 'worker')} did not report which code was loaded"
        yield Problem(ProblemKind.UNKNOWN, text, name)
    if codes["stale"] and not rolling:
        text = f"{counted(codes['stale'], 'worker')} of another generation than {wanted}, and no rollout is on"
        yield Problem(ProblemKind.STALE, text, name)


def _hanging(context: Context, instance: Instance) -> Iterator[Problem]:
    """A worker that runs and does nothing, with how long and where, as far as it can say so itself."""
    of = (instance.id.pool, instance.id.name)
    if instance.ailment is Ailment.STALLED:
        yield Problem(ProblemKind.STALLED, f"{instance.id} does not work: {instance.status}", *of)
    elif instance.ailment is Ailment.IDLE:
        yield Problem(ProblemKind.IDLE, f"{instance.id} takes no tasks: {instance.status}", *of)
    elif instance.ailment is Ailment.SILENT and instance.alive_at is not None:
        silent = context.clock.now() - instance.alive_at
        text = f"{instance.id} gives no sign of life for {silent:.0f} s"
        yield Problem(ProblemKind.SILENT, text, *of, since=context.moment(instance.alive_at))
    elif any(words in instance.status for words in NOT_LEAVING):
        yield Problem(ProblemKind.HANGING, f"{instance.id} hangs: {instance.status}", *of)
