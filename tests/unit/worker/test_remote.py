"""Which remote commands stand, and which were taken back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.control import Panel

from trapd.worker.remote import Remote


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


def test_a_shutdown_is_told_before_it_happens(told: dict[str, Any]) -> None:
    ends: list[str] = []
    Remote(ends.append).listen()
    told["shutdown"](STATE)
    assert ends == ["shutdown by remote control"]
