"""docs/protocol.md and the JSON Schema are what the types say, and the answers are what the schema says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from docs import protocol
from tests.support.fake_controller import TRACEBACK, FakeController, commands_of, settled, worker
from tests.support.json_schema import faults
from tests.support.virtual_clock import VirtualClock
from trapd.control.commands import PARAMETERS, TABLE, Caller
from trapd.control.protocol import Request
from trapd.ctl.verbs.schema import FILE
from trapd.errors import RefusedError
from trapd.model import CodeReport, InstanceId, RemoteCommand, RolloutState
from trapd.rollout.actions import Start

PARAMS: Mapping[str, object] = {
    "pool": "default",
    "id": 1,
    "workers": "3",
    "subject": "default",
    "pin": "an-id",
    "before": 7,
    "after": 8,
    "task": "an-id",
    "worker": "default@7-1",
}


def eventful(state: RolloutState) -> FakeController:
    """A pool in the middle of something, with as many members that have values as possible."""
    controller, clock = settled(VirtualClock()), VirtualClock()
    asyncio.run(controller.recycle(["default"], actor="root", reason="for show"))
    told = CodeReport(7, "d", {"trap": "1.3.0"}, ("trap.x",), (RemoteCommand("shutdown()", 1.0),))
    workers = (
        worker(clock, "default@8-1", "failed"),
        worker(clock, "default@8-2", "starting"),
        worker(clock, "default@7-1", report=told),
    )
    action = Start(InstanceId("default", 8, 1), "again")
    controller.put("default", instances=workers, waiting="READY", actions=(action,))
    controller.to("default", state, "because", TRACEBACK)
    paused = replace(controller.pool("default").state, paused=True)
    controller.put("default", state=paused)
    return controller


def test_the_page_is_as_it_would_be_written_now() -> None:
    assert protocol.FILE.read_text() == protocol.page(), "run: python -m docs.protocol"


def test_the_schema_is_as_it_would_be_written_now() -> None:
    assert json.loads(FILE.read_text()) == protocol.json_schema(), "run: python -m docs.protocol"


def test_every_command_and_every_answer_is_described() -> None:
    for row in TABLE:
        assert len(protocol.docstring(row.handler)) > 10, row.name
        assert all(param.doc for param in PARAMETERS[row.name]), row.name
        assert get_type_hints(row.handler)["return"].__name__ in protocol.answers(), row.name


@pytest.mark.parametrize("state", [RolloutState.PREFLIGHT, RolloutState.COMPLETE, RolloutState.REJECTED])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_a_command_answers_fits_the_schema(row: Any, state: RolloutState) -> None:
    progress: list[object] = []

    async def report(document: object) -> None:
        progress.append(document)

    if row.name == "events.follow" or (row.name == "rollout.wait" and not state.over):
        return  # it would wait
    controller = eventful(state)
    commands = commands_of(controller)
    params = {param.name: PARAMS[param.name] for param in PARAMETERS[row.name] if param.required}
    try:
        answer = asyncio.run(commands.call(Request(row.name, params), Caller("root", admin=True), report))
    except RefusedError:
        return  # to refuse is an answer, too
    assert faults(answer, get_type_hints(row.handler)["return"].__name__) == []
    assert [fault for one in progress for fault in faults(one, "Progress")] == []


def test_a_document_that_does_not_fit_is_found() -> None:
    pong = {"schema": 2, "version": "0.1.0", "pid": 1}
    assert faults(pong, "Pong") == []
    assert faults({**pong, "schema": 1}, "Pong") == ["Pong.schema: 1"]
    assert faults({**pong, "pid": True}, "Pong") == ["Pong.pid: True is no integer"]
    assert faults({"schema": 2, "version": None, "more": 1}, "Pong") == [
        "Pong.pid is missing",
        "Pong.version: None is no string",
        "Pong.more is unknown",
    ]
