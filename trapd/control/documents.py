"""Every document that goes over the control socket, and every one that ``trapctl --json`` prints.

The daemon builds them and trapctl reads them by these types, so that mypy compares the two ends. docs/protocol.md and
trapd/control/schema.json are made from this module (``python -m docs.protocol``): a docstring describes its document,
the text in ``Annotated`` its member, and an enumeration beside the text lists all its values.

Members are added, and never removed or given another meaning, without another number of the schema. Times are seconds
since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from trapd.event import Became, EventKind
from trapd.model import DiskState, FailureKind, InstanceState, RolloutState
from trapd.problem import ProblemKind

# --- parts ------------------------------------------------------------------------------------------------------------

_Versions = Annotated[dict[str, str], "distribution -> version"]
_Digest = Annotated[str, "sha256 in hex of the code, the settings and the interpreter"]

Backend = Literal["systemd", "embedded"]
DaemonState = Literal["starting", "running", "stopping"]
WatchMode = Literal["events", "looks"]


class Daemon(TypedDict):
    """trapd itself."""

    version: str
    pid: int
    host: Annotated[str, "the machine's name"]
    backend: Annotated[Backend, "who runs the workers"]
    state: DaemonState
    eager: Annotated[bool, "tasks run in the processes that submit them, and no workers are wanted"]
    watch: Annotated[WatchMode, "how changes on disk are noticed; of looks, a warning or a problem says why and when"]


class Disk(TypedDict):
    """The installed code."""

    state: Annotated[str, DiskState, ""]
    digest: Annotated[_Digest, "empty until the disk has settled"]
    versions: Annotated[_Versions, "of the watched distributions"]
    reason: Annotated[str, "why it is changing or broken; empty if it is settled"]


class TaskChanges(TypedDict):
    """Tasks that the code before had registered, and whose messages the new code cannot take, or not with all
    arguments."""

    missing: Annotated[list[str], "the new code does not have them"]
    altered: Annotated[list[str], "the new code has them with another signature"]
    text: Annotated[str, "in a sentence; empty if there are none"]


class Rollout(TypedDict):
    """Moving one pool from one generation to another."""

    id: int
    pool: str
    state: Annotated[str, RolloutState, "the last four are the ends"]
    reason: Annotated[str, "why it began; once it is over, why it ended"]
    generation: Annotated[int, "the new one"]
    previous: Annotated[int | None, "the one before; null if there was none"]
    actor: Annotated[str, "who asked for it; watch is trapd, which saw other code"]
    started: float
    ended: float | None
    versions: Annotated[_Versions, "of the new generation"]
    previous_versions: Annotated[_Versions, "of the one before; empty if its record is not kept any more"]
    detail: Annotated[str, "the end of the traceback, where there is one"]
    tasks: Annotated[TaskChanges | None, "null until the tasks of both generations are known"]
    suspected: Annotated[list[str], "names of tasks that are being compared with those of old workers"]


class Failure(TypedDict):
    """How a run of a worker failed."""

    kind: Annotated[str, FailureKind, ""]
    summary: Annotated[str, "one line"]
    at: float


class Restarts(TypedDict):
    """How often a worker was started again after a failure."""

    count: Annotated[int, "since it took its slot, as far as the history goes back"]
    cause: Annotated[str, "of the last one; empty if there was none"]
    at: Annotated[float | None, "when that happened"]


class Memory(TypedDict):
    """The memory that a worker uses with all its processes, in bytes."""

    used: int
    limit: Annotated[int | None, "MemoryMax= of its unit; null if it has none"]


class RemoteCommand(TypedDict):
    """A command that reached a worker by Celery's remote control, and holds until the worker ends."""

    command: str
    at: float


class RunningTask(TypedDict):
    """A task that runs."""

    id: str
    name: str
    since: float
    seconds: Annotated[float, "that it has run"]


class TaskRun(RunningTask):
    """A task that runs, beside others of its name."""

    queue: Annotated[str | None, "where its message came from; null if that is not known"]
    longest: Annotated[
        float | None,
        "seconds of the longest task of its name that has ended in a worker of the pool; null if none has",
    ]
    far: Annotated[bool, "it runs far beyond its like: three times as long as `longest`, and a minute longer"]


class TaskCounts(TypedDict):
    """What became of the tasks of one name since the worker was started."""

    name: str
    received: int
    started: int
    succeeded: int
    failed: Annotated[dict[str, int], "class of the exception -> number"]
    retried: int
    revoked: int
    unbegun: Annotated[int, "of the revoked: never started"]
    withdrawn: Annotated[int, "the task raised Ignore or Reject, or was cancelled with its connection"]
    seconds: Annotated[float, "of all that have ended"]
    longest: Annotated[float, "seconds of the longest of them"]


class WorkerTasks(TypedDict):
    """The tasks of one worker."""

    worker: Annotated[str, "POOL@GENERATION-SLOT"]
    pool: str
    state: Annotated[str, InstanceState, ""]
    generation: int
    versions: Annotated[_Versions, "that it really loaded"]
    phase: Annotated[str, "importing, connecting, ready, reconnecting or draining; empty if it does not answer"]
    unanswered: Annotated[str, "why it does not answer; then only `running` is known, from its task table"]
    running: Annotated[list[TaskRun], "the oldest first"]
    reserved: Annotated[int | None, "tasks that it holds and that do not run; null if that is not known"]
    queues: Annotated[list[str], "that it consumes now"]
    delivered: Annotated[float | None, "when the latest message came; null if none has, or that is not known"]
    counts: list[TaskCounts]


CodeState = Literal["current", "stale", "mixed", "unknown"]


class Instance(TypedDict):
    """One worker."""

    name: Annotated[str, "POOL@GENERATION-SLOT"]
    unit: Annotated[str, "of systemd"]
    pid: Annotated[int | None, "of its main process; null if it has none"]
    state: Annotated[str, InstanceState, ""]
    generation: int
    digest: Annotated[_Digest | None, "of its generation; null if its record is not kept any more"]
    code: Annotated[
        CodeState | None,
        "current: it loaded the wanted generation; stale: another one; mixed: modules from elsewhere as well; "
        "unknown: it did not report; null: it has no process",
    ]
    versions: Annotated[_Versions, "that it really loaded"]
    active_tasks: Annotated[int | None, "tasks that run; null if that is not known"]
    waits_for: Annotated[list[RunningTask], "tasks that must end before it exits, if it drains"]
    slots: Annotated[int | None, "tasks that it runs at a time; null if that is not known"]
    since: Annotated[float, "when it entered its state"]
    ready_at: Annotated[float | None, "when this run sent READY; null if it has not"]
    status: Annotated[str, "the STATUS= that it sent last"]
    failures: Annotated[int, "failed runs in a row"]
    failure: Annotated[Failure | None, "its last failed run"]
    restarts: Restarts
    memory: Annotated[Memory | None, "null if that is not known"]
    strays: Annotated[list[str], "modules of watched packages that it loaded from outside its generation"]
    loaded: Annotated[list[str], "distributions that it or its children loaded modules of"]
    replaced: Annotated[list[str], "modules that it loaded of a newer state than others of their distribution"]
    remote: list[RemoteCommand]


class TaskEnd(TypedDict):
    """A task that a worker had when it was asked to leave, or when it ended."""

    id: str
    name: str
    became: Annotated[str, Became, ""]


class Event(TypedDict):
    """One line of the history; docs/events.md has the kinds."""

    id: Annotated[int, "grows, and is not used twice, unless trapd ended before it could write the event"]
    at: float
    kind: Annotated[str, EventKind, ""]
    pool: str | None
    instance: str | None
    generation: int | None
    rollout: int | None
    actor: Annotated[str, "who caused it"]
    reason: str
    detail: Annotated[str, "the traceback or the last lines of the log, where there are any"]
    duration: Annotated[float | None, "seconds; the kind of the event says from when"]
    tasks: Annotated[list[TaskEnd], "of a worker that ended: the receipt of its drain, or what it ran; 200 at most"]


class OpenProblem(TypedDict):
    """Something that is not as desired."""

    kind: Annotated[str, ProblemKind, ""]
    pool: Annotated[str | None, "null: of trapd itself, or of the disk"]
    worker: Annotated[str | None, "the worker, if it is about one"]
    text: Annotated[str, "a sentence, the same as in `problems`"]
    since: Annotated[float, "when it began, or when trapd first saw it"]
    seconds: Annotated[float, "its age"]


class Pin(TypedDict):
    """A run that holds the code of a pool: until it ends no other code is rolled out."""

    actor: Annotated[str, "the user whose run it is"]
    reason: Annotated[str, "what runs, in one line"]
    generation: Annotated[int, "the wanted one when the run began"]
    since: float
    until: Annotated[float, "it ends then at the latest"]
    away: Annotated[bool, "trapd was started anew, and the holder is not connected again yet"]


class Pool(TypedDict):
    """A pool that is configured, or still has workers."""

    name: str
    wanted: Annotated[int, "workers"]
    ready: Annotated[int, "workers that are ready and whose main loop turns, for all that is known"]
    generation: Annotated[int | None, "the wanted one"]
    digest: Annotated[_Digest | None, "of the wanted generation"]
    versions: Annotated[_Versions, "of the wanted generation"]
    last_good: Annotated[int | None, "the latest generation that proved itself"]
    paused: bool
    waiting: Annotated[str, "what is waited for; empty if nothing is"]
    next: Annotated[str, "what comes then; empty if nothing does"]
    held_back: Annotated[str, "code that is installed and is not wanted, and why; empty if there is none"]
    rollout: Annotated[Rollout | None, "the latest"]
    instances: Annotated[list[Instance], "the newest generation first"]
    pins: Annotated[list[Pin], "the runs that hold its code, oldest first"]
    problems: Annotated[list[str], "sentences; all is as desired if there are none"]
    last_event: Event | None


class Progress(TypedDict):
    """The progress of a rollout."""

    pool: str
    rollout: Rollout
    wanted: Annotated[int, "workers"]
    updated: Annotated[int, "workers of the new generation that are ready"]
    starting: Annotated[int, "of the new generation"]
    failed: Annotated[int, "of the new generation"]
    old: Annotated[int, "workers of other generations that are still there"]
    draining: Annotated[int, "of the old ones"]
    serves: Annotated[int | None, "the generation that is wanted; not the rollout's own if that went wrong"]
    paused: bool
    waiting: Annotated[str, "what is waited for; empty if nothing is, or the rollout is over"]
    next: Annotated[str, "what comes then; empty if nothing does"]
    message: Annotated[str, "all of it in one line"]


class NoRollout(TypedDict):
    """The progress of a pool in which nothing was ever rolled out."""

    pool: str
    rollout: None
    waiting: str
    message: str


class Installed(TypedDict):
    """Whether a pool serves what is installed."""

    pool: str
    state: Annotated[
        Literal["serves", "refused", "awaited"],
        "serves: every wanted worker runs it; refused: it failed or was taken back, and the pool does not run it; "
        "awaited: neither, yet",
    ]
    why: str
    rollout: Annotated[int | None, "the latest rollout, if it is of what is installed"]
    message: Annotated[str, "all of it in one line"]


class Generation(TypedDict):
    """A number, given once, to what trapd wants to run."""

    number: int
    digest: _Digest
    versions: _Versions
    reason: str
    actor: str
    at: Annotated[float, "when it was made"]
    eager: Annotated[bool, "its settings run tasks in the processes that submit them"]
    wanted_by: Annotated[list[str], "pools"]
    good_for: Annotated[list[str], "pools in which it proved itself"]
    workers: Annotated[int, "that run it"]
    refused: Annotated[str | None, "why it is not tried again by itself"]
    size: Annotated[int | None, "bytes of its files; null if that is not known"]
    added: Annotated[int | None, "bytes of those files that no earlier generation had; null if that is not known"]
    seconds: Annotated[float | None, "that it took to make it; null if that is not known"]
    flaw: Annotated[str, "why no worker could start from it any more; empty if one could"]


class Action(TypedDict):
    """One step of a plan."""

    verb: str
    instance: Annotated[str | None, "the worker, if it is about one"]
    why: str
    text: Annotated[str, "all of it in one line"]


class PoolPlan(TypedDict):
    """The actions that trapd would take in one pool."""

    name: str
    actions: list[Action]
    waiting: Annotated[str, "what is waited for; empty if nothing is"]
    held: Annotated[int | None, "the rollout that a pause holds"]
    tasks: Annotated[str, "tasks that the rollout under way drops or alters, in a sentence; empty if there are none"]


class Step(TypedDict):
    """One link of the chain from a trigger to now."""

    at: Annotated[float | None, "null is now"]
    what: Annotated[str, "one word"]
    text: str


class Finding(TypedDict):
    """One result of ``trapctl check``."""

    level: Literal["ok", "warning", "error"]
    what: str
    reason: Annotated[str, "why it matters"]
    remedy: Annotated[str, "what to do"]
    detail: str
    since: Annotated[float | None, "when it began, of a problem that a running trapd tells"]


class Fault(TypedDict):
    """Why trapctl failed."""

    exit: Annotated[int, "trapctl's exit status"]
    message: str


# --- answers ----------------------------------------------------------------------------------------------------------


class _Answer(TypedDict):
    schema: Literal[2]  # protocol.SCHEMA


class Pong(_Answer):
    version: Annotated[str, "of trapd"]
    pid: int


class Status(_Answer):
    """The workers that run, and those that should run."""

    daemon: Daemon
    disk: Disk
    pools: list[Pool]
    problems: Annotated[list[str], "sentences on trapd itself and the disk; each pool has its own"]
    open_problems: Annotated[list[OpenProblem], "all problems: trapd's own, the disk's and each pool's"]
    warnings: Annotated[list[str], "sentences on what this machine does not allow; they change no exit status"]


class Drains(TypedDict):
    """What became of the tasks of the workers that a rollout drained, in numbers."""

    rollout: int
    finished: int
    returned: Annotated[int, "tasks that were handed back to the broker"]
    unknown: Annotated[int, "tasks of workers that were killed in the drain"]


class Rollouts(_Answer):
    rollouts: list[Rollout]
    drains: Annotated[list[Drains], "of those rollouts whose drains had tasks to finish or to hand back"]


class RolloutStatus(_Answer):
    """Whether the pools serve what is installed."""

    disk: Disk
    pools: Annotated[list[Progress | NoRollout], "the latest rollout of each pool"]
    installed: Annotated[list[Installed], "of each pool, in the same order"]
    problems: Annotated[
        list[OpenProblem],
        "what keeps installed code from running until somebody does something: it is broken, refused or held back",
    ]
    rollouts: Annotated[list[Rollout], "the latest of each pool that has one"]


class Waited(_Answer, Progress):
    """The last progress of a rollout that is over."""

    superseded_by: Annotated[int | None, "the pool's later rollout, if there is one"]


class Wanted(_Answer):
    """The number of workers that are wanted in a pool now."""

    pool: str
    paused: bool
    wanted: Annotated[int, "workers"]


class PinProgress(TypedDict):
    """Whether a run holds the code of a pool yet."""

    pool: str
    pin: Annotated[str | None, "the pin's id, for `pin.keep` and to take it up again; null: the run has to wait"]
    generation: Annotated[int | None, "that is held; null: the run has to wait"]
    digest: Annotated[_Digest | None, "of that generation"]
    until: Annotated[float | None, "the pin ends then at the latest"]
    message: Annotated[str, "all of it in one line"]


class Unpinned(_Answer):
    """A pin has ended, though its holder was there."""

    pool: str
    message: Annotated[str, "why, in one line"]


class Kept(_Answer):
    """A sign of life has arrived."""


class Scaled(Wanted):
    before: Annotated[int, "workers that were wanted"]


class OrderedWorker(Wanted):
    worker: Annotated[str, "by name"]


class Generations(_Answer):
    generations: Annotated[list[Generation], "newest first"]


class ChangedDistribution(TypedDict):
    name: Annotated[str, "of a distribution, `the interpreter` or `the celeryconfig`"]
    before: Annotated[str | None, "version; null: it was not there"]
    after: Annotated[str | None, "version; null: it is not there"]
    text: Annotated[str, "the change for people, `numpy 1.26.4 -> 2.0.1`"]


class ChangedFile(TypedDict):
    path: Annotated[str, "inside the generation"]
    change: Literal["added", "removed", "changed"]


class ChangedTask(TypedDict):
    """A registered task in which two generations differ."""

    name: str
    change: Annotated[Literal["added", "missing", "altered"], "altered: its signature is another one"]


class Differences(_Answer):
    before: Annotated[int, "a generation"]
    after: Annotated[int, "another generation"]
    distributions: Annotated[list[ChangedDistribution], "of all that was installed, required or not"]
    tasks: Annotated[list[ChangedTask], "registered tasks, as far as workers of both have told them"]
    files: Annotated[list[ChangedFile], "of the application, 1000 at most"]
    more_files: Annotated[int, "so many others differ"]
    unknown: Annotated[str, "what cannot be compared, and why; empty if all could be"]


class Plan(_Answer):
    changes: Annotated[bool, "something would be done, or is held"]
    pools: list[PoolPlan]


class SetAside(TypedDict):
    """Messages of a task that no worker knows; or with an `id` one task that killed its process too often."""

    pool: str
    task: str
    queue: Annotated[str, "the parking queue; empty if the broker has none and the messages were discarded"]
    messages: int
    since: float
    id: Annotated[str, "of a task that is set aside for its kills; else empty"]
    kills: Annotated[int, "that this host has counted"]


class Tasks(_Answer):
    workers: list[WorkerTasks]
    aside: Annotated[list[SetAside], "as workers of these pools report it"]
    ended: Annotated[list[Event], "if one worker is asked for: the ends of its runs that cost or left tasks"]


class Poisoned(_Answer):
    tasks: Annotated[list[SetAside], "as workers report it"]


class TaskEnded(_Answer):
    worker: Annotated[str, "that had the task"]
    id: str
    done: Annotated[str, "what was done, in a sentence"]


class Why(_Answer):
    subject: str
    kind: Literal["pool", "rollout", "instance", "generation"]
    chain: Annotated[list[Step], "in the order of time"]
    detail: Annotated[str, "the traceback, where there is one"]


class Metrics(_Answer):
    text: Annotated[str, "in the format of OpenMetrics; docs/metrics.md lists the metrics"]


class Notification(_Answer):
    """What the command of [notify] reads on its standard input, in one line."""

    host: Annotated[str, "the machine's name"]
    event: Event


class NotifyTested(_Answer):
    told: Annotated[str, "who was told"]


class Events(_Answer):
    events: Annotated[list[Event], "oldest first"]


class Check(_Answer):
    """``trapctl check --json``."""

    errors: int
    warnings: int
    findings: list[Finding]


class Problem(_Answer):
    """The document that ``trapctl --json`` prints instead of an answer, if there is none."""

    error: Fault
