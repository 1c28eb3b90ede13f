"""The table: who may, what goes in, what comes out."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_controller import FakeController, commands_of, settled, worker
from tests.support.virtual_clock import VirtualClock
from trapd.contracts import Cost
from trapd.control.commands import PARAMETERS, TABLE, Access, Caller
from trapd.control.parameters import Kind, read
from trapd.control.protocol import Code, ProtocolError, Request
from trapd.ctl import main
from trapd.errors import NotPermittedError, RefusedError
from trapd.event import Event, EventKind
from trapd.model import InstanceId, Pin, PoolState, Refusal, Rollout, RolloutState, Scope
from trapd.rollout.actions import Start
from trapd.spec import PoolSpec

ROOT, GUEST = Caller("root", admin=True), Caller("bob (uid 1002)", admin=False)
EXAMPLES: dict[str, Any] = {"pool": "default", "id": 1, "workers": "3", "subject": "default", "before": 7, "after": 8}
EXAMPLES |= {"task": "an-id", "worker": "default@7-1"}


def call(controller: FakeController, method: str, caller: Caller = ROOT, **params: Any) -> dict[str, Any]:
    async def report(_: object) -> None: ...

    commands = commands_of(controller)
    return cast(dict[str, Any], asyncio.run(commands.call(Request(method, params), caller, report)))


# --- the table itself ---


def test_each_command_has_a_trapctl_verb() -> None:
    assert {command.verb for command in TABLE} <= set(main.VERBS)


@pytest.mark.parametrize("command", [c for c in TABLE if c.access is Access.ADMIN], ids=lambda command: command.name)
def test_what_changes_anything_is_for_administrators_and_the_refusal_says_what_to_do(command: Any) -> None:
    controller = settled(VirtualClock())
    params = {param.name: EXAMPLES[param.name] for param in PARAMETERS[command.name] if param.required}
    with pytest.raises(NotPermittedError, match=r"cannot .*: bob \(uid 1002\) may only look; run it as root or"):
        call(controller, command.name, GUEST, **params)
    assert controller.asked == []


@pytest.mark.parametrize("method", ["pin", "pin.keep"])
def test_pins_are_for_submitters_and_administrators(method: str) -> None:
    controller, params = settled(VirtualClock()), {"pin": "an-id"} if method == "pin.keep" else {}
    with pytest.raises(
        NotPermittedError, match=r"cannot run trapctl pin: bob .* member of group trapd-submit or trapd"
    ):
        call(controller, method, GUEST, **params)
    assert controller.asked == []
    with contextlib.suppress(RefusedError):
        call(controller, method, Caller("carol", admin=False, submits=True), **params)
    assert controller.asked == [("keep", "an-id") if params else ("pin", "default", "carol", "")]


def test_promote_ends_the_pins_where_no_rollout_waits_for_a_person() -> None:
    controller = settled(VirtualClock())
    held = Pin("a", "alice", "", 7, 0.0, 0.0, 9e9, 9e9)
    controller.put("default", state=replace(controller.pool("default").state, pins=(held,)))
    call(controller, "rollout.promote", pool="default")
    assert controller.asked[-1] == ("override", "default", "root")


@pytest.mark.parametrize(
    "command",
    [c for c in TABLE if c.access is Access.READ and c.name != "events.follow"],
    ids=lambda command: command.name,
)
def test_looking_is_for_everybody_and_changes_nothing(command: Any) -> None:
    controller = settled(VirtualClock())
    begun = asyncio.run(controller.recycle(["default"], actor="root", reason="for show"))
    controller.to("default", type(begun[0].state).COMPLETE)
    controller.asked.clear()
    params = {param.name: EXAMPLES[param.name] for param in PARAMETERS[command.name] if param.required}
    assert call(controller, command.name, GUEST, **params)["schema"] == 2
    assert [asked for asked in controller.asked if asked[0] not in ("observe", "look")] == []


def test_an_unknown_command_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError, match="cannot do 'reboot': no such command") as error:
        call(settled(VirtualClock()), "reboot")
    assert error.value.code is Code.UNKNOWN_METHOD


# --- parameters ---


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("recycle", {"pool": "default"}, "cannot use 'pool' with recycle: it takes pools, reason"),
        ("ping", {"x": 1}, "cannot use 'x' with ping: it takes none"),
        ("scale", {"pool": "default"}, "cannot do scale without workers: N, +N, -N or reset"),
        ("recycle", {"pools": "default"}, "has to be a list of texts"),
        ("recycle", {"pools": [1]}, "has to be a list of texts"),
        ("recycle", {"reason": "x" * 1001}, "has to be a text of at most 1000 characters"),
        ("events", {"limit": 1001}, "cannot use this limit with events: at most 1000"),
        ("rollout.wait", {"id": True}, "has to be a whole number"),
        ("rollout.wait", {"id": -1}, "has to be a whole number"),
        ("rollout.wait", {"id": 10**400}, "has to be a whole number"),
        ("rollout.wait", {"id": 1, "timeout": float("inf")}, "has to be a number of seconds"),
        ("rollout.wait", {"id": 1, "timeout": -1}, "has to be a number of seconds"),
    ],
)
def test_wrong_parameters_are_refused_with_what_would_be_right(method: str, params: dict[str, Any], words: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(words)) as error:
        call(settled(VirtualClock()), method, **params)
    assert error.value.code is Code.INVALID_PARAMS


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers())


@given(st.sampled_from(TABLE), st.data())
def test_whatever_is_sent_handlers_see_the_types_that_the_table_says(command: Any, data: st.DataObject) -> None:
    names = st.sampled_from([param.name for param in PARAMETERS[command.name]] or ["x"])
    params = data.draw(st.dictionaries(names, ANYTHING))
    try:
        values = read(command.name, PARAMETERS[command.name], Request(command.name, params))
    except ProtocolError:
        return
    python = {Kind.TEXT: str, Kind.TEXTS: list | tuple, Kind.NUMBER: int, Kind.SECONDS: int | float, Kind.SWITCH: bool}
    for param in PARAMETERS[command.name]:
        value = values[param.name]
        assert isinstance(value, python[param.kind]) or value == param.default
        assert not (param.required and value is None)


# --- what the handlers make of it ---


def test_recycle_without_names_means_every_configured_pool_and_passes_who_and_why() -> None:
    controller = FakeController(VirtualClock(), PoolSpec("default"), PoolSpec("gpu"))
    said = call(controller, "recycle", reason="a new\nkernel \x1b[31m")
    assert controller.asked == [("look",), ("recycle", ["default", "gpu"], "root", "a new kernel [31m")]
    assert [(one["id"], one["pool"], one["state"]) for one in said["rollouts"]] == [
        (1, "default", "pending"),
        (2, "gpu", "pending"),
    ]


def test_a_pool_named_twice_is_recycled_once() -> None:
    controller = FakeController(VirtualClock(), PoolSpec("default"), PoolSpec("gpu"))
    call(controller, "recycle", pools=["gpu", "gpu"])
    assert controller.asked == [("look",), ("recycle", ["gpu"], "root", "")]


@pytest.mark.parametrize(
    ("name", "hint"), [("defualt", "did you mean default?"), ("web", "there are: default, gpu")], ids=["near", "far"]
)
def test_an_unknown_pool_is_refused_with_a_hint(name: str, hint: str) -> None:
    controller = FakeController(VirtualClock(), PoolSpec("default"), PoolSpec("gpu"))
    with pytest.raises(RefusedError, match=re.escape(f"cannot find pool {name!r}: {hint}")):
        call(controller, "recycle", pools=[name])
    assert controller.asked == []


@pytest.mark.parametrize(("amount", "wanted"), [("5", 5), ("+3", 5), ("-2", 0), ("0", 0), ("reset", 2)])
def test_scale_counts_from_what_is_wanted_now(amount: str, wanted: int) -> None:
    controller = settled(VirtualClock())
    said = call(controller, "scale", pool="default", workers=amount)
    assert controller.asked == [("scale", "default", wanted, "root")]
    assert (said["before"], said["wanted"]) == (2, wanted)


@pytest.mark.parametrize("amount", ["-3", "many", "", "1.5", "+", "99999", "٣"])
def test_scale_refuses_what_is_no_number_of_workers(amount: str) -> None:
    controller = settled(VirtualClock())
    with pytest.raises(RefusedError, match="cannot scale default"):
        call(controller, "scale", pool="default", workers=amount)
    assert controller.asked == []


def test_pause_resume_and_undo_reach_the_controller_with_the_name_of_who_asked() -> None:
    controller = settled(VirtualClock())
    assert call(controller, "rollout.pause", pool="default")["paused"] is True
    assert call(controller, "rollout.resume", pool="default")["paused"] is False
    assert call(controller, "rollout.promote", pool="default")["pool"] == "default"
    assert call(controller, "rollout.undo", pool="default")["rollouts"][0]["reason"] == "undo"
    assert controller.asked == [(verb, "default", "root") for verb in ("pause", "resume", "promote", "undo")]


def test_plan_says_every_action_with_its_reason() -> None:
    controller = settled(VirtualClock())
    assert call(controller, "plan")["changes"] is False
    action = Start(InstanceId("default", 8, 1), "canary of generation 8")
    controller.put("default", actions=(action,), waiting="room")
    said = call(controller, "plan")
    assert said["changes"] is True
    assert said["pools"][0]["actions"] == [
        {
            "verb": "start",
            "instance": "default@8-1",
            "why": "canary of generation 8",
            "text": "start default@8-1: canary of generation 8",
        }
    ]


def test_generations_say_who_wants_them_for_whom_they_are_good_and_why_they_were_refused() -> None:
    controller = settled(VirtualClock())
    controller.generation(8, "trap 1.3.0 -> 1.4.0", versions={"trap": "1.4.0"}, launch={"default": "l"})
    refused = Refusal(Scope.APPLICATION, "f8", "", "it does not import")
    controller.put("default", state=PoolState("default", wanted=7, good=(7,), refused=(refused,)))
    new, old = call(controller, "generations")["generations"]
    assert (new["number"], new["wanted_by"], new["refused"], new["workers"]) == (8, [], "it does not import", 0)
    assert (old["number"], old["wanted_by"], old["good_for"], old["workers"]) == (7, ["default"], ["default"], 2)
    assert old["refused"] is None


def test_a_generation_that_cannot_start_any_more_says_why() -> None:
    controller = settled(VirtualClock())
    controller.costs[7] = Cost(966, 3, 1.2)
    controller.flaws[7] = "its interpreter /opt/old/bin/python is gone; make it again"
    [shown] = call(controller, "generations")["generations"]
    assert shown["flaw"] == controller.flaws[7]
    assert (shown["size"], shown["added"], shown["seconds"]) == (966, 3, 1.2)


def test_history_and_events_can_be_asked_of_one_pool_and_no_password_is_in_them() -> None:
    controller = FakeController(VirtualClock(), PoolSpec("default"), PoolSpec("gpu"))
    call(controller, "recycle", reason="moved to amqp://u:secret@host//")
    assert [one["pool"] for one in call(controller, "rollout.history")["rollouts"]] == ["gpu", "default"]
    (mine,) = call(controller, "rollout.history", pool="gpu")["rollouts"]
    assert mine["reason"] == "moved to amqp://u:***@host//"
    (event,) = call(controller, "events", pool="default")["events"]
    assert (event["kind"], event["reason"], event["actor"]) == ("wanted", "moved to amqp://u:***@host//", "root")
    assert len(call(controller, "events", limit=1)["events"]) == 1


def test_the_past_of_a_pool_that_was_removed_can_still_be_asked_for() -> None:
    controller = settled(VirtualClock())
    gone = Event(1.0, EventKind.DRAINING, "no workers are configured", pool="gpu")
    rollout = Rollout(1, "gpu", 3, None, RolloutState.COMPLETE, "done", "watch", 0.0, 0.0)
    controller.history.save(pools=[PoolState("gpu", rollout=rollout)], events=[gone])
    assert [one["kind"] for one in call(controller, "events", pool="gpu")["events"]] == ["draining"]
    assert [one["id"] for one in call(controller, "rollout.history", pool="gpu")["rollouts"]] == [1]
    with pytest.raises(RefusedError, match="cannot find pool 'gup'"):
        call(controller, "events", pool="gup")


def test_events_since_a_cursor_are_the_first_after_it_and_not_the_latest() -> None:
    controller = settled(VirtualClock())
    saved = controller.history.save(events=[Event(1.0, EventKind.RETRIED, word) for word in "abcd"])
    page = call(controller, "events", since=saved[0].id, limit=2)["events"]
    assert [one["reason"] for one in page] == ["b", "c"]
    assert call(controller, "events", since=saved[-1].id)["events"] == []


def test_a_pool_that_was_taken_out_of_the_configuration_still_shows_while_it_has_workers() -> None:
    clock = VirtualClock()
    controller = settled(clock)
    controller.put("default", instances=(worker(clock, "default@7-1", "draining"),))
    controller.specs = {}
    assert call(controller, "status")["pools"][0]["instances"][0]["state"] == "draining"
    assert call(controller, "rollout.status")["pools"][0]["pool"] == "default"
