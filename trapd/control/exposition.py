"""The metrics, from the documents that trapctl shows: which there are, and their text, in the format of OpenMetrics or
in the older format of Prometheus (0.0.4).

node_exporter reads its text files in the older format. There the type of a counter is that of the name with ``_total``:
node_exporter 1.5.0, that of Debian 12, takes each counter of OpenMetrics for an untyped figure.

Pure: no second bookkeeping. docs/metrics.md is made from ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from trapd.control import documents
from trapd.model import InstanceState, RolloutState

Samples = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``labels``: the names of its labels, in the order of a sample's values. A counter's samples have the
    name with ``_total`` behind it."""

    name: str
    kind: str  # "gauge" or "counter": the older text format knows these as well
    meaning: str  # one line, without a full stop
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        return next((unit for unit in ("seconds", "bytes") if self.name.endswith(f"_{unit}")), "")


_POOL, _WORKER, _TASK = ("pool",), ("pool", "worker"), ("pool", "worker", "task")

BUILD = Family("trapd_build_info", "gauge", "1; the labels describe trapd", ("version", "host", "backend"))
WRITTEN = Family(
    "trapd_metrics_timestamp_seconds", "gauge", "when this text was written: a dead man's line for trapd itself"
)
RUNNING = Family("trapd_running", "gauge", "1 if trapd keeps its pools; 0 while it starts or stops")
DISK = Family("trapd_disk_settled", "gauge", "1 if what is installed is whole and at rest")
BROKEN = Family("trapd_disk_broken", "gauge", "1 if what is installed is broken, and is not rolled out")
PROBLEM = Family(
    "trapd_problem_start_timestamp_seconds",
    "gauge",
    "since when a problem of `trapctl status` is there; no sample if there is none",
    ("kind", "pool", "worker"),
)
EVENTS = Family("trapd_events", "counter", "events in the history since trapd started", ("kind", "pool"))
WANTED = Family("trapd_pool_workers_wanted", "gauge", "workers that are wanted", _POOL)
READY = Family("trapd_pool_workers_ready", "gauge", "workers that do their work, for all that is known", _POOL)
WORKERS = Family("trapd_pool_workers", "gauge", "workers in a state", ("pool", "state"))
GENERATION = Family("trapd_pool_generation", "gauge", "the number of the generation that is wanted", _POOL)
STALE = Family("trapd_pool_workers_stale", "gauge", "workers that loaded another generation than the wanted one", _POOL)
PAUSED = Family("trapd_pool_paused", "gauge", "1 if the pool is paused", _POOL)
HELD_BACK = Family(
    "trapd_pool_installed_held_back",
    "gauge",
    "1 if installed code is not wanted: refused, undone, or the pool is paused",
    _POOL,
)
UNDER_WAY = Family("trapd_rollout_under_way", "gauge", "1 if a rollout is under way", _POOL)
BEGAN = Family(
    "trapd_rollout_start_timestamp_seconds", "gauge", "when the rollout began that is under way; else no sample", _POOL
)
FOR_A_PERSON = Family(
    "trapd_rollout_waits_for_person",
    "gauge",
    "1 if a rollout waits for a person: to promote it (before tasks that it lacks, empty queues do as well), to resume"
    " its pool, or, where it failed and is held, to retry or undo it",
    _POOL,
)
UP = Family("trapd_worker_ready_timestamp_seconds", "gauge", "when this run of the worker was ready", _WORKER)
RESTARTS = Family("trapd_worker_restarts", "counter", "failed runs of the worker that another run followed", _WORKER)
MEMORY = Family("trapd_worker_memory_bytes", "gauge", "memory of the worker with all its processes", _WORKER)
RUNS = Family("trapd_worker_tasks_running", "gauge", "tasks that run in the worker", _WORKER)
RESERVED = Family("trapd_worker_tasks_reserved", "gauge", "tasks that the worker holds and that do not run", _WORKER)
OLDEST = Family(
    "trapd_worker_oldest_task_start_timestamp_seconds",
    "gauge",
    "when the task was started that has run for longest; no sample if none runs",
    _WORKER,
)
ENDED = Family("trapd_tasks", "counter", "tasks that ended in this run of the worker, by outcome", (*_TASK, "outcome"))
FAILED = Family("trapd_task_failures", "counter", "of the failed tasks, by class of exception", (*_TASK, "exception"))
SECONDS = Family("trapd_task_run_seconds", "counter", "seconds that the tasks that ended had run", _TASK)

ASIDE = Family(
    "trapd_messages_set_aside",
    "gauge",
    "messages in parking queues: no worker knows their task (unknown), or the task kills its process (poison)",
    ("pool", "task", "queue", "why"),
)
SUSPECTED = Family(
    "trapd_rollout_tasks_suspected",
    "gauge",
    "task names that fail more often with new code and are compared with those of old workers",
    _POOL,
)

FAMILIES = (
    *(BUILD, WRITTEN, RUNNING, DISK, BROKEN, PROBLEM, EVENTS),
    *(WANTED, READY, WORKERS, GENERATION, STALE, PAUSED, HELD_BACK, UNDER_WAY, BEGAN, FOR_A_PERSON, SUSPECTED, ASIDE),
    *(UP, RESTARTS, MEMORY, RUNS, RESERVED, OLDEST, ENDED, FAILED, SECONDS),
)


def text(
    status: documents.Status,
    workers: Iterable[documents.WorkerTasks],
    events: Mapping[tuple[str, str], int],
    now: float,
    aside: Iterable[documents.SetAside] = (),
    *,
    older: bool = False,
) -> str:
    """Return all metrics. ``events``: kind and pool ("" for none) -> how many. ``older``: in the older format."""
    found = {family: list(samples) for family, samples in _of_status(status, events, now)}
    found |= {family: list(samples) for family, samples in _of_tasks(list(workers))}
    found[ASIDE] = list(_aside(aside).items())
    lines = [line for family in FAMILIES for line in _lines(family, found.get(family, []), older)]
    return "".join(f"{line}\n" for line in [*lines, *([] if older else ["# EOF"])])


def _aside(aside: Iterable[documents.SetAside]) -> Mapping[tuple[str, ...], float]:
    """A task that kills is in the documents once for each of its messages."""
    found: dict[tuple[str, ...], float] = {}
    for one in aside:
        labels = (one["pool"], one["task"], one["queue"], "poison" if one["id"] else "unknown")
        found[labels] = found.get(labels, 0) + one["messages"]
    return found


def _of_status(
    status: documents.Status, events: Mapping[tuple[str, str], int], now: float
) -> Iterator[tuple[Family, Samples]]:
    daemon, pools = status["daemon"], status["pools"]
    yield BUILD, [((daemon["version"], daemon["host"], daemon["backend"]), 1)]
    yield WRITTEN, [((), now)]
    yield RUNNING, [((), daemon["state"] == "running")]
    yield DISK, [((), status["disk"]["state"] == "settled")]
    yield BROKEN, [((), status["disk"]["state"] == "broken")]
    problems = status["open_problems"]
    since: dict[tuple[str, ...], float] = {}
    for problem in problems:
        labels = (problem["kind"], problem["pool"] or "", problem["worker"] or "")
        since[labels] = min(problem["since"], since.get(labels, problem["since"]))
    yield PROBLEM, since.items()
    yield EVENTS, sorted(events.items())
    for family, value in _GAUGES.items():
        yield family, [((pool["name"],), value(pool)) for pool in pools]
    yield GENERATION, [((p["name"],), p["generation"]) for p in pools if p["generation"] is not None]
    rollouts = [(pool["name"], pool["rollout"]) for pool in pools if _under_way(pool)]
    yield BEGAN, [((name,), rollout["started"]) for name, rollout in rollouts if rollout is not None]
    states = [(pool, state.value) for pool in pools for state in InstanceState]
    yield WORKERS, [((p["name"], s), sum(i["state"] == s for i in p["instances"])) for p, s in states]
    yield from _of_workers([(pool["name"], instance) for pool in pools for instance in pool["instances"]])


def _under_way(pool: documents.Pool) -> bool:
    return pool["rollout"] is not None and pool["rollout"]["ended"] is None


def _waits(pool: documents.Pool) -> bool:
    """For a person: at a gate, because the pool is paused, or because it failed and on_failure = "hold"."""
    rollout = pool["rollout"]
    if rollout is None:
        return False
    failed = rollout["state"] == RolloutState.FAILED and rollout["generation"] == pool["generation"]
    held = failed and pool["last_good"] not in (None, rollout["generation"])  # else there is nothing to go back to
    return held or rollout["state"] == RolloutState.WAITING or (pool["paused"] and _under_way(pool))


_GAUGES: Mapping[Family, Callable[[documents.Pool], float]] = {
    WANTED: lambda pool: pool["wanted"],
    READY: lambda pool: pool["ready"],
    STALE: lambda pool: sum(instance["code"] == "stale" for instance in pool["instances"]),
    PAUSED: lambda pool: pool["paused"],
    HELD_BACK: lambda pool: bool(pool["held_back"]),
    UNDER_WAY: _under_way,
    SUSPECTED: lambda pool: len(pool["rollout"]["suspected"]) if pool["rollout"] is not None else 0,
    FOR_A_PERSON: _waits,
}


def _of_workers(instances: list[tuple[str, documents.Instance]]) -> Iterator[tuple[Family, Samples]]:
    yield UP, [((p, i["name"]), i["ready_at"]) for p, i in instances if i["ready_at"] is not None]
    yield RESTARTS, [((p, i["name"]), i["restarts"]["count"]) for p, i in instances]
    yield MEMORY, [((p, i["name"]), i["memory"]["used"]) for p, i in instances if i["memory"] is not None]


_OUTCOMES: Mapping[str, Callable[[documents.TaskCounts], float]] = {
    "succeeded": lambda counts: counts["succeeded"],
    "failed": lambda counts: sum(counts["failed"].values()),
    "retried": lambda counts: counts["retried"],
    "revoked": lambda counts: counts["revoked"],
    "withdrawn": lambda counts: counts["withdrawn"],
}


def _of_tasks(workers: list[documents.WorkerTasks]) -> Iterator[tuple[Family, Samples]]:
    of = [((worker["pool"], worker["worker"]), worker) for worker in workers]
    yield RUNS, [(labels, len(worker["running"])) for labels, worker in of]
    yield RESERVED, [(labels, worker["reserved"]) for labels, worker in of if worker["reserved"] is not None]
    yield OLDEST, [(labels, min(t["since"] for t in worker["running"])) for labels, worker in of if worker["running"]]
    counts = [((*labels, counts["name"]), counts) for labels, worker in of for counts in worker["counts"]]
    ended = [((*labels, outcome), number(each)) for labels, each in counts for outcome, number in _OUTCOMES.items()]
    yield ENDED, ended
    yield FAILED, [((*labels, name), number) for labels, c in counts for name, number in sorted(c["failed"].items())]
    yield SECONDS, [(labels, each["seconds"]) for labels, each in counts]


def _lines(family: Family, samples: Samples, older: bool) -> Iterator[str]:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    of = name if older else family.name
    yield f"# HELP {of} {_escaped(family.meaning)}"
    yield f"# TYPE {of} {family.kind}"
    if family.unit and not older:
        yield f"# UNIT {of} {family.unit}"
    for values, number in samples:
        pairs = zip(family.labels, values, strict=True)
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)
        yield f"{name}{{{labels}}} {_number(number)}" if labels else f"{name} {_number(number)}"


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(float(number))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
