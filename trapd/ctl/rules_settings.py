"""Who speaks about one thing: trapd.toml, Celery's settings, or both. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trapd.ctl.findings import OK, WARNING, Facts, Finding, Rule
from trapd.settings import resolve_backend

# Key of [pools.NAME] -> Celery's setting that it goes before, as an option of `celery worker` does; and what that
# setting is where nobody has said anything.
SAID_TWICE: Mapping[str, tuple[str, Any]] = {
    "concurrency": ("worker_concurrency", None),
    "celery_pool": ("worker_pool", "prefork"),
    "max_tasks_per_child": ("worker_max_tasks_per_child", None),
}


def said_twice(facts: Facts) -> Iterator[Finding]:
    for pool in facts.settings.pools:
        for key, (name, default) in SAID_TWICE.items():
            ours, theirs = getattr(pool, key), facts.conf(name)
            if ours is not None and theirs not in (ours, default, None):
                yield Finding(
                    OK, f"pool {pool.name} has {key} = {ours} of trapd.toml, not {name} = {theirs} of Celery's settings"
                )


def units_without_systemd(facts: Facts) -> Iterator[Finding]:
    if resolve_backend(facts.settings) == "systemd":
        return
    for pool in facts.settings.pools:
        if pool.unit:
            yield Finding(
                WARNING,
                f"[pools.{pool.name}.systemd] has no effect: {', '.join(sorted(pool.unit))}",
                "trapd itself runs the workers here (embedded backend), with its own user and limits, in the folder /",
                'remove the table, or set [trapd] backend = "systemd"',
            )


ALWAYS: tuple[Rule, ...] = (units_without_systemd,)
RULES: tuple[Rule, ...] = (said_twice,)
