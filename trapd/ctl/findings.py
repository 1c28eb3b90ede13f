"""Findings of `trapctl check`, and the rules that need no facts about the application. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from trapd.settings import Settings, resolve_backend, variables
from trapd.spec import PoolSpec

if TYPE_CHECKING:
    from trapd.control import documents

Level = Literal["ok", "warning", "error"]
OK: Final = "ok"
WARNING: Final = "warning"
ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``reason``: why ``what`` matters; ``remedy``: what to do; both empty if all is well.
    ``since``: when a problem of a trapd that runs began."""

    level: Level
    what: str
    reason: str = ""
    remedy: str = ""
    detail: str = ""
    since: float | None = None

    def document(self) -> documents.Finding:
        return {
            "level": self.level,
            "what": self.what,
            "reason": self.reason,
            "remedy": self.remedy,
            "detail": self.detail,
            "since": self.since,
        }


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that rules judge. ``report`` is inspect_app.py's; ``environ``: the environment that trapd starts in."""

    settings: Settings
    report: Mapping[str, Any]
    environ: Mapping[str, str]

    @property
    def workers(self) -> list[PoolSpec]:
        """The pools whose processes run tasks."""
        return [pool for pool in self.settings.pools if pool.run == "worker"]

    def conf(self, name: str) -> Any:
        return self.report["settings"].get(name)

    def celery_pool(self, pool: PoolSpec) -> str:
        """Return Celery's kind of pool that the workers of this pool have."""
        return str(pool.celery_pool or self.conf("worker_pool") or "prefork")

    def of_workers(self, pool: PoolSpec, variable: str) -> str:
        """Return an environment variable of the workers of this pool; units inherit none."""
        inherited = self.environ if resolve_backend(self.settings) == "embedded" else {}
        return variables.of(pool).get(variable, inherited.get(variable, ""))

    @property
    def transport(self) -> str:
        return str(self.report["broker"]["transport"])

    @property
    def tasks_late(self) -> bool:
        """Whether any task acknowledges late."""
        return bool(self.conf("task_acks_late") or self.report["late"])


Rule = Callable[[Facts], Iterator[Finding]]


# --- rules that need no facts about the application ---


def configuration(facts: Facts) -> Iterator[Finding]:
    pools = ", ".join(f"{pool.name} ({pool.workers})" for pool in facts.settings.pools)
    yield Finding(OK, f"{facts.settings.file} is sound; pools: {pools}")


def remapped_sigterm(facts: Facts) -> Iterator[Finding]:
    where = [
        f"[pools.{pool.name}] environment" if "REMAP_SIGTERM" in pool.environment else str(pool.environment_file)
        for pool in facts.settings.pools
        if "REMAP_SIGTERM" in variables.of(pool)
    ]
    if where:
        yield Finding(
            ERROR,
            f"REMAP_SIGTERM is set in {', '.join(where)}",
            "SIGTERM, which asks a worker to finish its tasks, then stops it at once: each recycle loses running tasks",
            "remove it; trapd needs Celery's own meaning of SIGTERM",
        )
    elif "REMAP_SIGTERM" in facts.environ:
        yield Finding(OK, "REMAP_SIGTERM is set here; trapd does not pass it on to workers")


_FAILED_REMEDY = {
    "start": "set [app] python to the python of the application's virtual environment",
    "version": "make the application's virtual environment with a newer Python, and name its python in [app] python",
    "time": "run the import by hand and see where it hangs",
    "python": "install celery for that interpreter, or set [app] python to the one that has it",
    "config": "correct the file, or name another one in [app] celeryconfig",
    "app": "set [app] app to what `celery -A` takes, and see that it is installed for [app] python",
    "settings": "correct the file; Celery's documentation has a table of the names in both spellings",
    "own settings": "correct them where the application has them: its config_from_object, or its assignments",
    "options": "an option with envvar=... gets its value from [pools.NAME] environment",
    "tasks": "correct what the traceback shows; `imports` and `include` name the modules",
    "smoke test": "set [app] smoke_test to module:function",
    "broker": "correct broker_url, or install for that interpreter what this kind of broker needs",
    "backend": "correct result_backend, or install for that interpreter what this kind of backend needs",
    "Celery pool": "install it for that interpreter, or choose another celery_pool",
}


def failed(facts: Facts) -> Iterator[Finding]:
    step = facts.report.get("failed")
    if step is None:
        return
    app = facts.settings.application
    what = {
        "config": f"cannot load {app.celeryconfig}",
        "settings": f"cannot use the settings in {app.celeryconfig}",
        "own settings": f"cannot use the settings of {app.app} itself",
        "options": f"cannot start a worker of {app.app} without a command line",
        "tasks": f"cannot import the task modules of {app.app}",
        "smoke test": f"cannot find the smoke test {app.smoke_test}",
        "broker": f"cannot use the broker_url in {app.celeryconfig}",
        "backend": f"cannot use the result_backend in {app.celeryconfig}",
        "Celery pool": f"cannot use a pool's celery_pool on {app.python}",
        "python": f"cannot load Celery on {app.python}",
        "start": f"cannot run {app.python}",
        "version": f"cannot run a worker on {app.python}",
        "time": f"cannot import {app.app} in time",
    }.get(step, f"cannot import {app.app} on {app.python}")
    reason = str(facts.report["summary"]) + "; no worker can start"
    yield Finding(ERROR, what, reason, _FAILED_REMEDY[step], facts.report.get("detail", ""))


ALWAYS: tuple[Rule, ...] = (configuration, remapped_sigterm, failed)
