"""Rules of `trapctl check` for the options that a pool gives to its processes."""

from __future__ import annotations

from collections.abc import Iterator

from trapd.ctl.findings import ERROR, WARNING, Facts, Finding, Rule
from trapd.settings import variables

# Celery's kinds of pool that never end a task, whatever limits are set (Celery 5.7, celery/concurrency).
LIMITLESS = frozenset({"solo", "threads"})
OWN_PROCESSES = frozenset({"prefork", "processes"})


def environment_files(facts: Facts) -> Iterator[Finding]:
    for pool in facts.settings.pools:
        if why := variables.fault(pool):
            yield Finding(
                ERROR,
                f"cannot use {pool.environment_file}, the environment_file of pool {pool.name}",
                f"{why}; no process of this pool can start",
                f"let workers read it (root:trapd-worker, 0640), or correct [pools.{pool.name}] environment_file",
            )


def limits_in_vain(facts: Facts) -> Iterator[Finding]:
    for pool in facts.workers:
        kind = facts.celery_pool(pool)
        limits = [name for name in ("time_limit", "soft_time_limit") if getattr(pool, name) is not None]
        children = [n for n in ("max_memory_per_child", "max_tasks_per_child") if getattr(pool, n) is not None]
        vain = (limits if kind in LIMITLESS else []) + (children if kind not in OWN_PROCESSES else [])
        if vain:
            yield Finding(
                WARNING,
                f"pool {pool.name} sets {', '.join(vain)}, which Celery's pool {kind!r} ignores",
                "tasks run in the worker's own process, which is never interrupted or replaced",
                'remove it, or set celery_pool = "prefork"',
            )


def state_file(facts: Facts) -> Iterator[Finding]:
    for pool in facts.workers:
        file = pool.statedb or facts.conf("worker_state_db")
        if file and "%n" not in str(file):
            yield Finding(
                ERROR,
                f"the workers of pool {pool.name} share one state file, {file}",
                "old and new workers run at the same time during a recycle, and only one process can open the file",
                "write %n into its name; or remove the setting: trapd passes revoked tasks on without it",
            )


ALWAYS: tuple[Rule, ...] = (environment_files,)
RULES: tuple[Rule, ...] = (limits_in_vain, state_file)
