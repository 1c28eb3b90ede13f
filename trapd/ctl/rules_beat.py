"""Rules of `trapctl check` for periodic tasks: whether a pool sends them, and whether the application has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from trapd.ctl.findings import ERROR, OK, WARNING, Facts, Finding, Rule
from trapd.layout import WORKERS_CACHE, WORKERS_STATE
from trapd.settings import resolve_backend
from trapd.sizes import counted

PLAIN_SCHEDULER = "celery.beat:PersistentScheduler"  # Celery's own; its schedule is beat_schedule
OF_CELERY = frozenset({"celery.backend_cleanup"})
WRITABLE = (WORKERS_STATE, WORKERS_CACHE)  # for workers under systemd


def _beats(facts: Facts) -> list[str]:
    return [pool.name for pool in facts.settings.pools if pool.run == "beat" and pool.workers]


def no_beat(facts: Facts) -> Iterator[Finding]:
    beat = facts.report["beat"]
    if _beats(facts) or (not beat["schedule"] and beat["scheduler"] == PLAIN_SCHEDULER):
        return
    what = f"beat_schedule has {counted(len(beat['schedule']), 'periodic task')}"
    if not beat["schedule"]:
        what = f"beat_scheduler is {beat['scheduler']}"
    yield Finding(
        WARNING,
        f"{what}, and no pool here runs beat",
        "workers send no periodic tasks, just as `celery worker` without -B: no process sends them",
        f'add a pool with run = "beat" to {facts.settings.file}; nothing, if beat runs on another machine',
    )


def beats(facts: Facts) -> Iterator[Finding]:
    beat = facts.report["beat"]
    for pool in _beats(facts):
        if beat["schedule"] or beat["scheduler"] != PLAIN_SCHEDULER:
            yield Finding(
                OK,
                f"pool {pool} sends {counted(len(beat['schedule']), 'periodic task')} of beat_schedule, "
                f"by {beat['scheduler']}; no other machine may run a beat of this application",
            )
        else:
            yield Finding(
                WARNING,
                f"pool {pool} runs beat, and beat_schedule is empty",
                "it has nothing to send",
                "set beat_schedule, call add_periodic_task when the application is configured, or set beat_scheduler "
                "to one that has its schedule elsewhere",
            )


def unknown_periodic_tasks(facts: Facts) -> Iterator[Finding]:
    for entry, task in facts.report["beat"]["unknown"].items():
        if task not in OF_CELERY:
            yield Finding(
                WARNING,
                f"beat_schedule sends {task} ({entry!r}), which {facts.settings.application.app} does not have",
                "workers of this application cannot run it",
                "correct its name, or see that `imports`, `include` or autodiscovery find its module; nothing, if "
                "another application runs it",
            )


def schedule_file(facts: Facts) -> Iterator[Finding]:
    """Report an absolute path that the unit of a beat may not write: units may write in few places."""
    file = PurePosixPath(str(facts.conf("beat_schedule_filename") or ""))
    if not file.is_absolute() or not _beats(facts) or resolve_backend(facts.settings) != "systemd":
        return
    for pool in facts.settings.pools:
        opened = str(pool.unit.get("ReadWritePaths", "")).split()
        places = [*WRITABLE, *(PurePosixPath(place.lstrip("-+")) for place in opened)]
        if pool.name in _beats(facts) and not any(file.is_relative_to(place) for place in places):
            yield Finding(
                ERROR,
                f"pool {pool.name} cannot write beat_schedule_filename, {file}",
                "for its unit all of the machine is read-only but the workers' own folders",
                "write a name without folders, which is kept in the pool's own folder; or open that folder with "
                f"ReadWritePaths in [pools.{pool.name}.systemd]",
            )


RULES: tuple[Rule, ...] = (no_beat, beats, unknown_periodic_tasks, schedule_file)
