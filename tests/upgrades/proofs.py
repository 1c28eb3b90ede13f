"""What each outcome of a row means for workers, tasks and history, and that it came true."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.upgrades.rows import CHANGED, Outcome, Row, Wait
from tests.upgrades.stage import PATIENCE, Shared, Stage, Tasks, at_rest

if TYPE_CHECKING:
    from trapd.control import documents

QUIET = 2.0  # s; the default of quiet_period


def prove(shared: Shared, row: Row) -> None:
    """Do what the row says, and see that what came of it is what the row expects."""
    with shared.borrow() as stage:
        PROOFS[row.outcome](stage, row)


def exchanged(stage: Stage, row: Row) -> None:
    """The workers are exchanged exactly once, with at most one start more; no task is lost, none runs twice, none sees
    two versions; the old code serves until the tool has ended; the reason names what changed."""
    begun = begin(stage)
    old, new, before = stage.version, stage.next_version(), stage.head()
    with stage.tasks() as tasks:
        stage.wait_until("a task on the old code", lambda _: bool(tasks.ended()))
        row.act(stage, new)
        ended, ended_wall = time.monotonic(), time.time()
        stage.wait_until("workers on the new code", lambda pool: _serves(pool, stage.generation) and at_rest(pool))
        stage.wait_until("a task on the new code", lambda _: tasks.ended()[-1].version == new)
    events = stage.events(after=begun)
    asked = [e["at"] for e in events if e["kind"] == "draining" and e["generation"] == stage.generation]
    stage.version, stage.generation = new, serving(stage)
    passing = {entry.version for entry in tasks.entries() if entry.version.startswith((f"{new}rc", f"{new}.dev"))}
    nothing_lost(tasks, {old, new, *passing})
    assert [entry for entry in tasks.entries() if entry.version == new and entry.at < ended] == [], "new code too soon"
    counts = Counter(event["kind"] for event in events)
    story = "\n".join(f"{event['at'] - ended_wall:+.2f} {event['kind']} {event['reason']}" for event in events)
    assert counts["finished"] == 1, story
    assert counts["wanted"] - counts["superseded"] == 1, story
    assert stage.workers <= counts["started"] <= stage.workers + 1, story
    assert not {"failed", "crashed", "killed", "rejected", "given-up"} & set(counts), story
    early = any(event["kind"] == "started" and event["reason"].endswith(", tentatively") for event in events)
    assert row.wait is Wait.NOTHING or early == (row.wait is Wait.FACTS), story
    assert min(asked) >= ended_wall, f"an old worker was told before the tool's end\n{story}"
    print(story)
    reason = row.reason.format(old=old, new=new, before=before, after=stage.head())
    _, why = stage.ctl("why", "default")
    assert reason in why, f"{reason!r} is not in:\n{why}"


def unchanged(stage: Stage, row: Row) -> None:
    """No worker is started or told, and the workers serve on."""
    begun = begin(stage)
    with stage.tasks() as tasks:
        row.act(stage, stage.version)
        assert stage.ctl("rollout", "status")[0] == 0  # it looks at what is installed now
        time.sleep(QUIET)
        assert stage.ctl("rollout", "status")[0] == 0
    nothing_lost(tasks, {stage.version})
    assert {event["kind"] for event in stage.events(after=begun)} <= {"no-effect"}


def begin(stage: Stage) -> int:
    """The number of the last event. The row before it left everything at rest, though perhaps with code that was
    refused, and nothing came of it since."""
    pool = of_pool(stage)
    assert _all_ready(pool), pool
    assert pool["rollout"] is not None
    assert pool["rollout"]["ended"] is not None
    assert pool["generation"] == stage.generation, f"something came after the row before: {pool['rollout']}"
    return stage.events()[-1]["id"]


def _serves(pool: documents.Pool, before: int) -> bool:
    return pool["generation"] is not None and pool["generation"] > before


def of_pool(stage: Stage) -> documents.Pool:
    """The pool's part of the status."""
    status = stage.status()
    assert status is not None
    return status["pools"][0]


def serving(stage: Stage) -> int:
    """The generation that is wanted."""
    generation = of_pool(stage)["generation"]
    assert generation is not None
    return generation


def nothing_lost(tasks: Tasks, versions: set[str]) -> None:
    """Each task ran once, in one version of the code from its first line to its last import."""
    entries = tasks.entries()
    seen = Counter((entry.id, entry.event) for entry in entries)
    meant = Counter((id, event) for id in tasks.sent for event in ("start", "end"))
    assert seen == meant, f"lost: {meant - seen}, too often or of nobody: {seen - meant}"
    assert {entry.version for entry in entries} <= versions
    assert [entry for entry in entries if entry.event == "end" and entry.lazy != entry.version] == []


def kept(stage: Stage, row: Row) -> None:
    """What is there is not rolled out, and the status names the reason; who is killed meanwhile comes back on the old
    code, and runs tasks with all that these need; the repair is one exchange."""
    assert row.repair is not None, f"{row.id} names no repair"
    begun, old, new = begin(stage), stage.version, stage.next_version()
    reason = words(stage, row, new)
    with stage.tasks() as tasks:
        row.act(stage, new)
        broken = stage.wait_until_broken(reason)
        answer = stage.daemon.ctl("status")
        assert answer.returncode == 1
        assert broken in answer.stdout
    nothing_lost(tasks, {old})
    comes_back(stage)
    told = {event["kind"] for event in stage.events(after=begun)}
    assert not {"wanted", "draining"} & told, "what is broken was rolled out"
    exchanged(stage, replace(row, act=row.repair, reason=CHANGED))


def comes_back(stage: Stage) -> None:
    """A worker that is killed starts again on the code that serves, and runs tasks."""
    pool = of_pool(stage)
    victim = pool["instances"][0]["pid"]
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    stage.wait_until("the worker again", lambda pool: _all_ready(pool) and victim not in pids(pool))
    with stage.tasks() as tasks:
        stage.wait_until("a task on the old code", lambda _: bool(tasks.ended()))
    nothing_lost(tasks, {stage.version})
    assert serving(stage) == stage.generation


def rejected(stage: Stage, row: Row) -> None:
    """The old workers run on as they are, and whoever asks is told why the new code does not."""
    begun, old, new = stage.events()[-1]["id"], stage.version, stage.next_version()
    before = pids(of_pool(stage))
    assert len(before) == stage.workers
    reason = words(stage, row, new)
    with stage.tasks() as tasks:
        row.act(stage, new)
        waited = stage.daemon.ctl("rollout", "status", "--timeout", f"{PATIENCE:g}s", timeout=2 * PATIENCE)
        assert waited.returncode == 1, waited.stdout + waited.stderr
        answer = stage.daemon.ctl("status")
        assert answer.returncode == 1
        for text in (waited.stdout + waited.stderr, answer.stdout):
            assert reason in text, f"{reason!r} is not in:\n{text}"
        stage.wait_until("the old workers alone", lambda pool: pids(pool) == before)
    nothing_lost(tasks, {old})
    counts = Counter(event["kind"] for event in stage.events(after=begun))
    assert counts["rejected"] == 1, counts
    assert serving(stage) == stage.generation


def words(stage: Stage, row: Row, new: str) -> str:
    """The row's reason, for this stage."""
    return row.reason.format(old=stage.version, new=new, site=stage.site, python=stage.python)


def pids(pool: documents.Pool) -> set[int]:
    """Of all its workers that have a process."""
    return {instance["pid"] for instance in pool["instances"] if instance["pid"] is not None}


def _all_ready(pool: documents.Pool) -> bool:
    return pool["ready"] == pool["wanted"] == len(pool["instances"])


PROOFS = {
    Outcome.EXCHANGED: exchanged,
    Outcome.UNCHANGED: unchanged,
    Outcome.KEPT: kept,
    Outcome.REJECTED: rejected,
}
