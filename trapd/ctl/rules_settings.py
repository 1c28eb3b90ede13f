"""Rules of `trapctl check` for settings: where they come from, which of two is in force, which have no effect. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trapd.ctl.findings import ERROR, OK, WARNING, Facts, Finding, Level, Rule
from trapd.layout import WORKERS_STATE, State
from trapd.settings import resolve_backend
from trapd.spec import PoolSpec

# Key of [pools.NAME] -> Celery's setting that the key overrides, as an option of `celery worker` does; and the default
# of that setting.
SET_TWICE: Mapping[str, tuple[str, Any]] = {
    "concurrency": ("worker_concurrency", None),
    "celery_pool": ("worker_pool", "prefork"),
    "max_tasks_per_child": ("worker_max_tasks_per_child", None),
    "max_memory_per_child": ("worker_max_memory_per_child", None),
    "prefetch_multiplier": ("worker_prefetch_multiplier", 4),
    "time_limit": ("task_time_limit", None),
    "soft_time_limit": ("task_soft_time_limit", None),
    "statedb": ("worker_state_db", None),
}


def set_twice(facts: Facts) -> Iterator[Finding]:
    for pool in facts.settings.pools:
        for key, (name, default) in SET_TWICE.items():
            own, celerys = getattr(pool, key), facts.conf(name)
            if own is not None and celerys not in (own, default, None):
                yield Finding(
                    OK, f"pool {pool.name} has {key} = {own} of trapd.toml, not {name} = {celerys} of Celery's settings"
                )


def units_without_systemd(facts: Facts) -> Iterator[Finding]:
    if resolve_backend(facts.settings) == "systemd":
        return
    for pool in facts.settings.pools:
        if pool.unit:
            yield Finding(
                WARNING,
                f"[pools.{pool.name}.systemd] has no effect: {', '.join(sorted(pool.unit))}",
                "trapd itself runs the workers here (embedded backend), with its own user and limits",
                'remove the table, or set [trapd] backend = "systemd"',
            )


# Settings that a celeryconfig is for: if the application has other values, no warning is needed.
_A_SERVICES_OWN = ("broker_", "result_backend", "redis_", "control_")
_WHOSE = {"application": "the application", "environment": "the environment"}


def sources(facts: Facts) -> Iterator[Finding]:
    """List each setting in force that is not Celery's default, with its source."""
    in_force: list[Mapping[str, Any]] = facts.report["in_force"]
    lines, counts = [], dict.fromkeys(("application", "celeryconfig", "environment"), 0)
    for setting in in_force:
        counts[setting["by"]] += 1
        instead = f", not the application's {setting['instead_of']}" if setting["instead_of"] is not None else ""
        lines.append(f"{setting['name']} = {setting['value']}  ({setting['by']}{instead})")
    for pool in facts.settings.pools:
        options = [(name, getattr(pool, key)) for key, (name, _) in SET_TWICE.items()]
        lines += [f"{name} = {value!r}  (trapd.toml, pool {pool.name})" for name, value in options if value is not None]
    shares = ", ".join(f"{count} by {_WHOSE.get(source, source + '.py')}" for source, count in counts.items() if count)
    yield Finding(OK, f"settings that are not Celery's defaults: {shares or 'none'}", detail="\n".join(lines))


def overridden(facts: Facts) -> Iterator[Finding]:
    file = facts.settings.application.celeryconfig
    name = file.rpartition("/")[2]
    for setting in facts.report["in_force"]:
        if (
            setting["by"] == "celeryconfig"
            and setting["instead_of"]
            and not setting["name"].startswith(_A_SERVICES_OWN)
        ):
            yield Finding(
                WARNING,
                f"{setting['name']} is {setting['value']} by {name}; the application sets {setting['instead_of']}",
                "plain `celery worker` follows the application; here the system-wide file overrides it",
                f"remove {setting['name']} from {file}, unless the file is to override it",
            )


def typos_of_the_application(facts: Facts) -> Iterator[Finding]:
    for name, meant in facts.report["unknown_own"].items():
        yield Finding(
            WARNING,
            f"Celery knows no setting {name}",
            "it is in the application's own settings, and Celery ignores it without a message",
            f"did you mean {meant}?",
        )


def of_a_daemon(facts: Facts) -> Iterator[Finding]:
    """Warn about settings for the log, process id and user of `celery worker`, which have no effect here."""
    systemd = resolve_backend(facts.settings) == "systemd"
    where = (
        "UMask= in [pools.NAME.systemd] sets the umask; the user is trapd-worker"
        if systemd
        else "workers have the user and the umask of trapd"
    )
    for name in facts.report["daemon"]:
        yield Finding(
            WARNING,
            f"{name} has no effect",
            "plain `celery worker` obeys it; a worker of trapd has the log, user and umask that it is started with",
            f"remove it; `trapctl logs` shows the log, and {where}",
        )


def pickles_for_root(facts: Facts) -> Iterator[Finding]:
    accepted = facts.conf("accept_content") or ()
    if "pickle" not in accepted and "application/x-python-serialize" not in accepted:
        return
    for pool in facts.settings.pools:
        if pool.run == "worker" and _runs_as_root(pool, facts):
            if facts.of_workers(pool, "C_FORCE_ROOT"):
                level: Level = WARNING
                what = f"workers of pool {pool.name} accept pickle, as root (C_FORCE_ROOT)"
            else:
                level = ERROR
                what = f"Celery refuses to start workers of pool {pool.name}: they accept pickle, as root"
            reason = "a user who can put a message into the broker can run any code as root"
            remedy = "run trapd and its workers as another user, or remove pickle from accept_content"
            yield Finding(level, what, reason, remedy)


def _runs_as_root(pool: PoolSpec, facts: Facts) -> bool:
    if resolve_backend(facts.settings) == "systemd":
        return str(pool.unit.get("User", "trapd-worker")) in ("root", "0")
    return bool(facts.report["uid"] == 0)  # of `check`: workers are children of trapd, which this user starts


def slow_children(facts: Facts) -> Iterator[Finding]:
    """Warn about a time in which a child cannot start. It is forked with the application; only handlers of
    worker_process_init take time.

    Tried on Celery 5.7, Redis: an import of 3 s under a timeout of 1 s does no harm, a handler of 2.5 s ends the pool.
    """
    name = "worker_proc_alive_timeout"
    is_set = any(setting["name"] == name for setting in facts.report["in_force"])
    limit, needed = facts.conf(name), max(4.0, facts.report["seconds"])
    if is_set and facts.report["process_init"] and limit is not None and limit < needed:
        yield Finding(
            WARNING,
            f"{name} is {limit:g} s, and the application has handlers of worker_process_init",
            "a child whose handlers take longer is killed before its first task, and so is the next: after "
            f"max_tasks_per_child or a crash nothing runs any more; the application itself imports in {needed:.0f} s",
            f"remove it (Celery's default is 4 s), or set more than the handlers take, such as {2 * needed:.0f}",
        )


def working_folder(facts: Facts) -> Iterator[Finding]:
    """Name the folder in which relative paths of the application begin."""
    systemd = resolve_backend(facts.settings) == "systemd"
    own = str(State(facts.settings.state_directory).workers)
    of_unit = WORKERS_STATE  # WorkingDirectory= of the shipped unit
    folders = {str(pool.unit.get("WorkingDirectory", of_unit)) if systemd else own for pool in facts.settings.pools}
    for folder in sorted(folders):
        yield Finding(OK, f"workers start in the folder {folder} (plain `celery worker`: where it is called)")


def draining(facts: Facts) -> Iterator[Finding]:
    """Warn about a max_draining in [rollout] that has no effect, or that contradicts max_surge."""
    for pool in facts.settings.pools:
        policy, key = pool.policy, f"max_draining = {pool.policy.max_draining}"
        if policy.max_draining is None or policy.max_draining.value == 0:
            continue
        if pool.singleton:
            yield Finding(
                WARNING,
                f"{key} has no effect in pool {pool.name}",
                "a singleton never has two workers: the new worker starts when the old worker has exited",
                f"set max_draining = 0 in [pools.{pool.name}.rollout]",
            )
        elif policy.max_surge.value == 0:
            yield Finding(
                WARNING,
                f"pool {pool.name} may have more than {pool.workers} workers although max_surge = 0: {key}",
                "max_surge = 0 asks for no more than the wanted workers; draining old workers count separately",
                f"remove max_draining from [pools.{pool.name}.rollout] or [rollout], unless you want this",
            )


ALWAYS: tuple[Rule, ...] = (units_without_systemd, draining)
ANYWHERE: tuple[Rule, ...] = (sources, overridden, typos_of_the_application)  # eager tasks have settings too
RULES: tuple[Rule, ...] = (working_folder, set_twice, of_a_daemon, pickles_for_root, slow_children)
