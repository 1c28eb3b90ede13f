"""What each outcome of a row means for workers, tasks and history, and that it came true."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.upgrades.rows import Outcome, Row
from tests.upgrades.stage import WORKERS, Shared, Stage, Tasks, at_rest

if TYPE_CHECKING:
    from trapd.control import documents

QUIET = 2.0  # s; the default of quiet_period


def prove(shared: Shared, row: Row) -> None:
    """Do what the row says, and see that what came of it is what the row expects."""
    with shared.borrow() as stage:
        {Outcome.EXCHANGED: exchanged, Outcome.UNCHANGED: unchanged}[row.outcome](stage, row)


def exchanged(stage: Stage, row: Row) -> None:
    """The workers are exchanged exactly once, with at most one start more; no task is lost, none runs twice, none sees
    two versions; the old code serves until the tool has ended; the reason names what changed."""
    begun = begin(stage)
    old, new = stage.version, stage.next_version()
    with stage.tasks() as tasks:
        stage.wait_until("a task on the old code", lambda _: bool(tasks.ended()))
        row.act(stage, new)
        ended, ended_wall = time.monotonic(), time.time()
        stage.wait_until("workers on the new code", lambda pool: _serves(pool, stage.generation) and at_rest(pool))
        stage.wait_until("a task on the new code", lambda _: tasks.ended()[-1].version == new)
    events = stage.events(after=begun)
    stage.version, stage.generation = new, stage.generation + _wanted(events)
    _nothing_lost(tasks, {old, new})
    assert [entry for entry in tasks.entries() if entry.version == new and entry.at < ended] == [], "new code too soon"
    counts = Counter(event["kind"] for event in events)
    story = "\n".join(f"{event['at'] - ended_wall:+.2f} {event['kind']} {event['reason']}" for event in events)
    assert counts["finished"] == 1, story
    assert counts["wanted"] - counts["superseded"] == 1, story
    assert WORKERS <= counts["started"] <= WORKERS + 1, story
    assert not {"failed", "crashed", "killed", "rejected", "given-up"} & set(counts), story
    asked = [event["at"] for event in events if event["kind"] == "draining"]
    assert min(asked) >= ended_wall, f"an old worker was told before the tool's end\n{story}"
    print(story)
    reason = row.reason.format(old=old, new=new)
    why = stage.daemon.ctl("why", "default").stdout
    assert reason in why, f"{reason!r} is not in:\n{why}"


def unchanged(stage: Stage, row: Row) -> None:
    """No worker is started or told, and the workers serve on."""
    begun = begin(stage)
    with stage.tasks() as tasks:
        row.act(stage, stage.version)
        assert stage.daemon.ctl("rollout", "status").returncode == 0  # it looks at what is installed now
        time.sleep(QUIET)
        assert stage.daemon.ctl("rollout", "status").returncode == 0
    _nothing_lost(tasks, {stage.version})
    assert {event["kind"] for event in stage.events(after=begun)} <= {"no-effect"}


def begin(stage: Stage) -> int:
    """The number of the last event. The row before it left everything at rest, and nothing came of it since."""
    status = stage.status()
    assert status is not None
    [pool] = status["pools"]
    assert at_rest(pool), pool
    assert pool["generation"] == stage.generation, f"something came after the row before: {pool['rollout']}"
    return stage.events()[-1]["id"]


def _serves(pool: documents.Pool, before: int) -> bool:
    return pool["generation"] is not None and pool["generation"] > before


def _wanted(events: list[documents.Event]) -> int:
    return sum(event["kind"] == "wanted" for event in events)


def _nothing_lost(tasks: Tasks, versions: set[str]) -> None:
    """Each task ran once, in one version of the code from its first line to its last import."""
    entries = tasks.entries()
    assert Counter((entry.id, entry.event) for entry in entries) == Counter(
        (id, event) for id in tasks.sent for event in ("start", "end")
    )
    assert {entry.version for entry in entries} <= versions
    assert [entry for entry in entries if entry.event == "end" and entry.lazy != entry.version] == []
