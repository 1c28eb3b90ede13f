"""Which remote commands stand, and which were taken back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.control import Panel

from trapd.worker.remote import TAKEN_EVERY, Remote


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Handlers that do nothing, instead of Celery's, in Celery's own registry."""
    names = [name for name, info in Panel.meta.items() if info.type == "control"]
    handlers = {name: lambda state, **_: {"ok": "done"} for name in names}
    handlers["rate_limit"] = lambda state, **had: {"error": "unknown"} if had["task_name"] == "x" else {"ok": ""}
    monkeypatch.setattr(Panel, "data", {**Panel.data, **handlers})
    data: dict[str, Any] = Panel.data
    return data


STATE = SimpleNamespace(consumer=SimpleNamespace(task_consumer=SimpleNamespace(queues=[SimpleNamespace(name="q")])))


def commands(remote: Remote) -> list[str]:
    return [one["command"] for one in remote.standing()]


@pytest.mark.parametrize(
    ("calls", "standing"),
    [
        ([("cancel_consumer", {"queue": "q"})], ["cancel_consumer('q')"]),
        ([("cancel_consumer", {"queue": "q"}), ("add_consumer", {"queue": "q"})], []),
        ([("add_consumer", {"queue": "other"})], ["add_consumer('other')"]),
        ([("add_consumer", {"queue": "other"}), ("cancel_consumer", {"queue": "other"})], []),
        ([("pool_shrink", {"n": 2}), ("pool_grow", {"n": 1})], ["pool_grow(1)"]),
        ([("pool_shrink", {"n": 1}), ("pool_grow", {})], []),
        ([("rate_limit", {"task_name": "a", "rate_limit": n}) for n in ("1/s", "2/s")], ["rate_limit('a', '2/s')"]),
        ([("rate_limit", {"task_name": "x", "rate_limit": "1/s"})], []),
        ([("time_limit", {"task_name": "a", "hard": 60, "soft": None})], ["time_limit('a', 60)"]),
        ([("autoscale", {"max": 4, "min": 2})], ["autoscale(4, 2)"]),
        ([("revoke", {"task_id": "1"}), ("enable_events", {}), ("ping", {})], []),
    ],
)
def test_what_stands_is_what_is_not_as_it_was(
    told: dict[str, Any], calls: list[tuple[str, dict[str, Any]]], standing: list[str]
) -> None:
    remote = Remote(lambda why: None)
    remote.listen()
    for name, arguments in calls:
        state = STATE if name != "ping" else SimpleNamespace(**vars(STATE), hostname="w", tset=set)
        told[name](state, **arguments)
    assert commands(remote) == standing


@pytest.mark.parametrize(
    ("calls", "words", "tasks"),
    [
        ([("revoke", {"task_id": "1", "terminate": False, "signal": "SIGTERM"})], "revoke('1')", 1),
        ([("revoke", {"task_id": ["1"], "terminate": True})], "terminate('1')", 1),
        ([("terminate", {"signal": "KILL", "task_id": "1"})], "terminate('1')", 1),
        ([("revoke_by_stamped_headers", {"headers": {"run": ["7"]}})], "revoke({'run': ['7']})", 1),
        (
            [("revoke", {"task_id": ["1", "2"]}), ("revoke", {"task_id": "3"})],
            "3 tasks revoked or terminated, the last by revoke('3')",
            3,
        ),
    ],
)
def test_who_takes_tasks_is_told(
    told: dict[str, Any], calls: list[tuple[str, dict[str, Any]]], words: str, tasks: int
) -> None:
    remote = Remote(lambda why: None)
    remote.listen()
    for name, arguments in calls:
        told[name](STATE, **arguments)
    assert remote.taken(1000.0) == [{"command": words, "wall": 1000.0, "tasks": tasks}]
    assert remote.standing() == []


def test_of_tasks_that_are_taken_there_is_a_word_a_minute(told: dict[str, Any]) -> None:
    remote = Remote(lambda why: None)
    remote.listen()
    assert remote.taken(1000.0) == []
    told["revoke"](STATE, task_id="1")
    first = remote.taken(1000.0)
    told["revoke"](STATE, task_id=["2", "3"])
    told["revoke"](STATE, task_id=[])
    assert remote.taken(1000.0 + TAKEN_EVERY - 1) == first
    [second] = remote.taken(1000.0 + TAKEN_EVERY)
    assert second["command"] == "2 tasks revoked or terminated, the last by revoke('3')"
    assert second["tasks"] == 3
    told["revoke"](STATE, task_id="4")
    assert remote.taken(500.0)[0]["wall"] == 500.0, "the clock was set back"


def test_a_shutdown_is_told_before_it_happens(told: dict[str, Any]) -> None:
    ends: list[str] = []
    Remote(ends.append).listen()
    told["shutdown"](STATE)
    assert ends == ["shutdown by remote control"]
