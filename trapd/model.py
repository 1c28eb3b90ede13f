"""The nouns of trapd: frozen values that every other module speaks.

Nothing here touches the world: no clock, no files, no asyncio. Times named ``at``, ``since`` or ``*_at`` are seconds of
CLOCK_MONOTONIC unless the name says ``wall`` (seconds since the epoch, for people and for history only).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trapd.content import Content, Environment

# Numbers of 15 digits: more than there will ever be, and few enough for a database.
_INSTANCE = re.compile(r"(?P<pool>[a-z][a-z0-9_]*)@(?P<generation>[0-9]{1,15})-(?P<slot>[0-9]{1,15})")
_UNIT_PREFIX, _UNIT_SUFFIX = "trapd-worker-", ".service"


@dataclass(frozen=True, slots=True, order=True)
class InstanceId:
    """One worker: a slot of one generation of one pool. Its name is all that an observer needs to place it."""

    pool: str
    generation: int
    slot: int

    @property
    def name(self) -> str:
        """``default@7-1``: what people type and read."""
        return f"{self.pool}@{self.generation}-{self.slot}"

    @property
    def unit(self) -> str:
        """``trapd-worker-default@7-1.service``: the systemd unit."""
        return f"{_UNIT_PREFIX}{self.name}{_UNIT_SUFFIX}"

    @property
    def node(self) -> str:
        """``default-7-1``: Celery's node name without its host; unique, so old and new can run side by side."""
        return f"{self.pool}-{self.generation}-{self.slot}"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> InstanceId:
        """Read a name or a unit name. Raises ValueError for anything else."""
        name = text.removeprefix(_UNIT_PREFIX).removesuffix(_UNIT_SUFFIX)
        found = _INSTANCE.fullmatch(name)
        if not found:
            raise ValueError(f"cannot read {text!r} as POOL@GENERATION-SLOT")
        return cls(found["pool"], int(found["generation"]), int(found["slot"]))


class InstanceState(StrEnum):
    """What a backend sees of an instance. Absent is not a state: an absent instance is not observed."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    FAILED = "failed"


class FailureKind(StrEnum):
    """Why an instance failed, as far as it can be told from outside."""

    CODE = "code"  # the worker itself said so: the application or its configuration raised
    TIMEOUT = "timeout"  # it did not say READY in time
    WATCHDOG = "watchdog"  # its main loop stopped turning
    BROKER = "broker"  # the broker would not wait for its tasks any longer: no other code would change that
    MEMORY = "memory"  # the kernel killed it: out of memory
    CRASH = "crash"  # it exited or was killed for any other reason


class Ailment(StrEnum):
    """What is wrong with an instance although it runs. All but OUTGROWN keep it from serving."""

    STALLED = "stalled"  # its main loop does not turn, it says
    SILENT = "silent"  # it has given no sign of life for longer than it should
    CUT_OFF = "cut off"  # it cannot reach the broker, it says
    OUTGROWN = "outgrown"  # its main process has more memory than it may have, it says; it serves all the same
    IDLE = "not consuming"  # its broker is there and tasks are, and it takes none, it says


@dataclass(frozen=True, slots=True)
class Failure:
    kind: FailureKind
    summary: str  # one line
    detail: str  # a traceback or the last lines of the log; may be empty
    at: float
    was_ready: bool = False  # the run had sent READY: it did start, however it ended


@dataclass(frozen=True, slots=True)
class RemoteCommand:
    """What reached a worker by Celery's remote control and stands until it ends, or took tasks from it."""

    command: str  # cancel_consumer('celery')
    wall: float


@dataclass(frozen=True, slots=True)
class SetAside:
    """Messages of one task that no worker knows, as a worker counts them; or with ``id`` one task that killed its
    process or its worker so often that it does not run again."""

    task: str
    queue: str  # the parking queue; empty: there is none on this broker, and they were discarded
    messages: int
    wall: float  # since when
    id: str = ""
    kills: int = 0


@dataclass(frozen=True, slots=True)
class LostChild:
    """A process of a Celery pool that was killed while it ran a task. ``memory``: the kernel had none left."""

    task: str
    id: str
    how: str  # signal 9 (SIGKILL)
    wall: float
    memory: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a worker uses with its children, and may use; ``limit`` None: it has no limit of its own."""

    used: int
    limit: int | None = None
    cache: int = 0  # of ``used``: pages of files, which the kernel takes back when it needs memory


@dataclass(frozen=True, slots=True)
class CodeReport:
    """What a worker says of the code it has really loaded."""

    generation: int
    digest: str
    versions: Mapping[str, str]
    strays: tuple[str, ...] = ()  # modules of watched packages that were loaded from outside the snapshot
    remote: tuple[RemoteCommand, ...] = ()  # beside its code: what is not as it was configured
    slots: int | None = None  # tasks that it runs at a time; workers of an earlier trapd do not tell it
    loaded: tuple[str, ...] = ()  # distributions, by normalised name, that it or its children have loaded modules of
    copied: tuple[str, ...] = ()  # those of them that came from its generation; of an earlier trapd none
    aside: tuple[SetAside, ...] = ()
    replaced: tuple[str, ...] = ()  # files that changed while modules of their distribution were loaded, old and new
    lost: tuple[LostChild, ...] = ()  # the oldest first

    @property
    def mixed(self) -> bool:
        return bool(self.strays or self.replaced)


@dataclass(frozen=True, slots=True)
class Instance:
    """One observed worker."""

    id: InstanceId
    state: InstanceState
    since: float  # when it entered this state
    pid: int | None = None
    ready_at: float | None = None  # when this run said READY
    alive_at: float | None = None  # when its main loop was last known to turn; READY itself is such a sign
    ailment: Ailment | None = None
    active_tasks: int | None = None
    status: str = ""
    failures: int = 0  # failed runs in a row; a run that stayed up long enough starts it again at 0
    failure: Failure | None = None  # of the last failed run
    report: CodeReport | None = None

    @property
    def failed_at(self) -> float:
        """When its last run failed; where that is not known, when it entered this state."""
        return self.failure.at if self.failure else self.since


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of what is installed. ``digest`` is sha256 in hex; empty for files that may change freely (.pyc)."""

    path: str  # where it goes in a snapshot, relative: code/trap/run.py, etc/celeryconfig.py, tree/srv/site/app.py
    source: str  # where it is now, absolute
    digest: str


class DiskState(StrEnum):
    SETTLED = "settled"
    TENTATIVE = "tentative"  # whole, as its installer's facts say; the quiet period is not over
    CHANGING = "changing"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Disk:
    """What is installed, as seen at one moment; all but state, reason and versions counts only if ``whole``."""

    state: DiskState
    reason: str = ""
    fingerprint: str = ""  # of what counts by metadata; of a generation that is recognised, that generation's
    versions: Mapping[str, str] = field(default_factory=dict)  # of the watched distributions
    files: Collection[TreeFile] = ()
    eager: bool = False  # the Celery settings run every task in the submitter's process: no workers are needed
    roots: tuple[str, ...] = ()  # absolute: projects' folders that code is imported from; their files go below tree/
    # All that is on the import path, by normalised name, with INTERPRETER and CELERYCONFIG; and which of it counts
    # whatever workers have loaded: what is watched, Celery, and all that they require.
    distributions: Mapping[str, Content] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    earlier: str = ""  # the fingerprint as a trapd took it that had no such table
    satisfied: tuple[str, ...] | None = None  # requirements, as "held requires depa"; None: nobody could tell
    altered: tuple[str, ...] = ()  # marks of distributions whose files are not as recorded
    environment: Environment | None = None  # copied whole, beside ``files``; None: only ``files`` are

    @property
    def whole(self) -> bool:
        return self.state in (DiskState.SETTLED, DiskState.TENTATIVE)


@dataclass(frozen=True, slots=True)
class Generation:
    """A number, given once, to what we want to run."""

    number: int
    fingerprint: str
    versions: Mapping[str, str]
    launch: Mapping[str, str]  # pool -> digest of PoolSpec.launch()
    reason: str
    actor: str
    wall: float
    eager: bool = False
    application: str = ""  # Application.identity of what its snapshot starts: part of each digest in ``launch``
    # The tables of the disk that it was made of; empty where a trapd without tables made it, and has not met it yet.
    distributions: Mapping[str, Content] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    # What its workers have loaded, each as it was installed then; until they say so, what those before had loaded.
    loaded: Mapping[str, Content] = field(default_factory=dict)
    heard: bool = False  # whether ``loaded`` is what its own workers say
    satisfied: tuple[str, ...] | None = None  # as the disk was that it is made of; None: an earlier trapd made it
    altered: tuple[str, ...] = ()
    tasks: Mapping[str, str] | None = None  # name -> digest of its signature, as a worker told; None: none has yet


class RolloutState(StrEnum):
    TENTATIVE = "tentative"  # one worker of it starts, and no other is told to go until the disk has settled
    PENDING = "pending"  # wanted; nothing started yet
    PREFLIGHT = "preflight"  # the canary is importing and connecting
    CANARY = "canary"  # the canary is ready and must stay so for min_ready
    WAITING = "waiting"  # before a gate (rollout/gates.py)
    RETRIAL = "retrial"  # the canary failed and then the good generation started: it is tried once more
    ROLLING = "rolling"
    COMPLETE = "complete"
    REJECTED = "rejected"  # its own code failed
    FAILED = "failed"  # it stopped making progress after its canary was good
    SUPERSEDED = "superseded"

    @property
    def over(self) -> bool:
        return self in (RolloutState.COMPLETE, RolloutState.REJECTED, RolloutState.FAILED, RolloutState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class TaskChanges:
    """What submitters that still run the code of before will meet: names of registered tasks, sorted."""

    missing: tuple[str, ...] = ()  # the new code does not have them
    altered: tuple[str, ...] = ()  # it has them with another signature

    def __bool__(self) -> bool:
        return bool(self.missing or self.altered)


@dataclass(frozen=True, slots=True)
class Retrial:
    """The tasks of one name, which failed more often with new code than before, counted anew beside the old code."""

    task: str
    number: int  # in its rollout, from 1
    since: float
    why: str  # the suspicion
    over: bool = False
    compared: Mapping[str, int] = field(default_factory=dict)  # what was found, once it speaks against the new code
    error: str = ""  # the class of most of the exceptions
    alone_since: float | None = None  # since when the old code takes these tasks alone


@dataclass(frozen=True, slots=True)
class Rollout:
    """Moving one pool from one generation to another."""

    id: int
    pool: str
    generation: int
    previous: int | None
    state: RolloutState
    reason: str  # why it began; why it ended, once it is over
    actor: str
    started_wall: float
    progressed_at: float  # last progress; the progress deadline runs from here
    detail: str = ""  # the traceback, where there is one
    ended_wall: float | None = None
    began_at: float | None = None  # of CLOCK_MONOTONIC, which nobody sets; None: not known
    versions: Mapping[str, str] = field(default_factory=dict)  # of ``generation``; of an earlier trapd none
    previous_versions: Mapping[str, str] = field(default_factory=dict)
    opened: tuple[str, ...] = ()  # gates that are open
    tasks: TaskChanges | None = None  # None: the tasks of the two generations could not be compared yet
    before: Mapping[str, tuple[int, int]] | None = None  # the old code's task name -> ended, failed; None: not known
    retrials: tuple[Retrial, ...] = ()
    finished_at: float | None = None  # when it was complete; None again once its probation has told enough
    probations: int = 1  # one after the other since then: one in which too few tasks ended is followed by another


class Scope(StrEnum):
    """How far a refusal reaches."""

    CODE = "code"  # whatever the code is started as, and however
    APPLICATION = "application"  # the code as this application; another one may be tried of it
    SETTINGS = "settings"  # the code under these settings of the pool; under others it may be tried


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a pool does not try again by itself, and why."""

    scope: Scope
    fingerprint: str  # of the code
    subject: str  # the application, or the digest of the settings; empty where the code itself is refused
    why: str
    wall: float = field(default=0.0, compare=False)  # since when; 0: an earlier trapd did not write it down


@dataclass(frozen=True, slots=True)
class WorkerOrder:
    """What a person ordered of one worker, by its name: to drain it, or to recycle it."""

    worker: str
    actor: str
    wall: float
    at: float  # the same moment: of CLOCK_MONOTONIC
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """A run that holds the code of a pool, so that no part of the run meets other code (rollout/pin.py)."""

    id: str
    actor: str
    reason: str  # what runs, in one line; may be empty
    generation: int  # the wanted one when it began
    wall: float  # since when
    at: float  # the same moment of CLOCK_MONOTONIC
    until: float  # of CLOCK_MONOTONIC: it ends then at the latest
    until_wall: float
    away_since: float | None = None  # of CLOCK_MONOTONIC: since when nobody holds it; None: its holder is there


@dataclass(frozen=True, slots=True)
class Apart:
    """Two generations: one whose code and celeryconfig came together, and one with the latter alone (halves.py)."""

    whole: int
    half: int
    rounds: int = 0  # in which both were tried before


@dataclass(frozen=True, slots=True)
class PoolState:
    """What is wanted of one pool. Only triggers, and the planner's verdicts, change it; it survives a crash."""

    pool: str
    wanted: int | None = None  # generation
    good: tuple[int, ...] = ()  # generations that proved themselves, oldest first
    refused: tuple[Refusal, ...] = ()  # oldest first; of each scope and subject there is one
    undone: int | None = None  # generation that the last undo left, to which another undo goes back
    paused: bool = False
    workers: int | None = None  # `trapctl scale`; None: as configured
    scaled_by: str = ""  # who gave that number; of an earlier trapd, and without a number, empty
    scaled_wall: float | None = None  # and when
    rollout: Rollout | None = None  # the latest
    relieved_at: float | None = None  # when the last round of rollout/relief.py began
    rounds: int = 0  # its number in a row
    drained: tuple[WorkerOrder, ...] = ()  # until they are undrained, so many workers fewer are wanted
    recycled: tuple[WorkerOrder, ...] = ()  # workers to be replaced, new before old; until they leave
    pins: tuple[Pin, ...] = ()  # oldest first
    apart: Apart | None = None  # until a trigger begins a rollout

    @property
    def last_good(self) -> int | None:
        return self.good[-1] if self.good else None

    @property
    def put_aside(self) -> int | None:
        """The generation that waits while its celeryconfig is rolled out without its code; None if none does."""
        tried = self.rollout is not None and not self.rollout.state.over and self.rollout.generation == self.wanted
        return self.apart.whole if tried and self.apart and self.apart.half == self.wanted else None
