"""Reading trapctl's status, and telling what changed."""

from __future__ import annotations

from typing import Any

import pytest

from demo.status import Status, changes, starts


def worker(name: str, state: str = "ready", code: str = "current", version: str = "1.3.0") -> dict[str, Any]:
    versions = {"trap": version} if version else {}
    return {"name": name, "pid": 5, "state": state, "code": code, "versions": versions, "active_tasks": 0, "since": 1.0}


def answer(
    *workers: dict[str, Any],
    rollout: str | None = "complete",
    disk: str = "settled",
    reason: str = "",
    pins: int = 0,
) -> Status:
    state = {"id": 3, "state": rollout, "reason": reason, "ended": 5.0} if rollout else None
    ready = sum(one["state"] == "ready" for one in workers)
    pool = {
        "name": "default",
        "wanted": 2,
        "ready": ready,
        "rollout": state,
        "instances": list(workers),
        "pins": [{}] * pins,
    }
    return Status.of({"disk": {"state": disk, "reason": "", "versions": {"trap": "1.3.0"}}, "pools": [pool]})


def test_as_wanted_is_settled() -> None:
    assert answer(worker("a"), worker("b")).settled_on("1.3.0")


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(answer(worker("a")), id="one too few"),
        pytest.param(answer(worker("a"), worker("b"), worker("c", "draining")), id="one too many"),
        pytest.param(answer(worker("a"), worker("b", "starting")), id="not ready"),
        pytest.param(answer(worker("a"), worker("b", code="stale")), id="stale"),
        pytest.param(answer(worker("a"), worker("b", version="1.2.0")), id="another version"),
        pytest.param(answer(worker("a"), worker("b", version="")), id="no report"),
        pytest.param(answer(worker("a"), worker("b"), rollout="rolling"), id="rollout goes on"),
    ],
)
def test_anything_else_is_not(status: Status) -> None:
    assert not status.settled_on("1.3.0")


def test_a_rollout_that_is_over_without_success_is_told() -> None:
    assert answer(rollout="rejected", reason="import failed").failed == "the rollout was rejected: import failed"
    assert answer(rollout="preflight").failed == ""
    assert answer(rollout=None).failed == ""


def test_the_first_answer_tells_everything() -> None:
    assert list(changes(None, answer(worker("a")))) == [
        "on disk: trap 1.3.0, settled",
        "rollout complete",
        "a ready with trap 1.3.0",
    ]


def test_nothing_new_is_nothing_to_tell() -> None:
    assert list(changes(answer(worker("a")), answer(worker("a")))) == []


def test_what_changed_is_told() -> None:
    old = answer(worker("a"), worker("b", "draining"))
    new = answer(worker("a", "draining"), worker("c", "starting"), rollout="preflight", disk="changing", reason="pip")
    assert list(changes(old, new)) == [
        "on disk: trap 1.3.0, changing",
        "rollout preflight: pip",
        "a draining",
        "c starting",
        "b gone",
    ]


def test_the_duration_of_each_workers_last_start_in_the_order_of_time() -> None:
    def event(kind: str, instance: str | None, duration: float | None) -> dict[str, Any]:
        return {"kind": kind, "instance": instance, "duration": duration}

    events = [
        event("trapd-started", None, None),
        event("ready", "a", 34.0),
        event("ready", "b", 36.0),
        event("gone", "b", 4.0),
        event("ready", "a", None),
    ]
    assert list(starts({"events": events}).items()) == [("b", 36.0), ("a", None)]
    assert starts({"events": []}) == {}


def test_the_begin_and_the_end_of_a_pin_are_changes() -> None:
    before, during = answer(worker("a")), answer(worker("a"), pins=1)
    assert [*changes(before, during)] == ["the code is pinned by a run"]
    assert [*changes(during, before)] == ["the run has ended, and its pin with it"]
