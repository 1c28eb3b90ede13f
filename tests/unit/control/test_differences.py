"""`generations.diff`, and `why` of a generation."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_controller import FakeController, about, settled
from tests.support.no_accounts import NO_ACCOUNTS
from tests.support.virtual_clock import VirtualClock
from trapd.content import Content
from trapd.control import documents, requests
from trapd.control.differences import MOST_FILES, generations_diff
from trapd.control.handlers import Call
from trapd.control.needs import Context
from trapd.control.why import why
from trapd.ctl.render import Screen
from trapd.ctl.verbs.generations_diff import show
from trapd.errors import UsageError

CLOCK = VirtualClock()
OLD = {"trap": Content("1.3.0", "t1"), "numpy": Content("1.26.4", "n1"), "ipython": Content("8.0", "i1")}
NEW = {"trap": Content("1.4.0", "t2"), "numpy": Content("1.26.4", "n1"), "black": Content("24", "b1")}
TASKS, LATER = (
    {"trap.find": "s1", "trap.gone": "s2", "trap.same": "s"},
    {"trap.find": "s3", "trap.same": "s", "new": ""},
)
FILES = {"code/trap/a.py": b"a", "code/trap/b.py": b"b", "code/trap/c.py": b"c"}


def upgraded(old: Mapping[str, Content] = OLD, files: Mapping[str, bytes] = FILES) -> FakeController:
    controller = settled(CLOCK)
    asyncio.run(controller.recycle(["default"], actor="alice", reason="trap 1.3.0 -> 1.4.0"))
    controller.generations[7] = replace(controller.generations[7], distributions=old, tasks=TASKS)
    controller.generations[8] = replace(
        controller.generations[8], versions={"trap": "1.4.0"}, distributions=NEW, tasks=LATER
    )
    controller.snapshots.kept = {
        7: files,
        8: {"code/trap/a.py": b"a", "code/trap/b.py": b"B", "code/trap/d.py": b"d"},
    }
    return controller


def diff(controller: FakeController, before: int = 7, after: int = 8) -> Mapping[str, Any]:
    async def report(document: Mapping[str, object]) -> None:
        raise AssertionError(document)

    context = Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS)
    params: requests.OfDiff = {"before": before, "after": after}
    return asyncio.run(generations_diff(Call(context, controller, controller, params, "alice", report)))


def explain(subject: str) -> documents.Why:
    controller = upgraded()
    return why(Context(about(), controller, CLOCK, controller.look_at_disk, NO_ACCOUNTS), subject)


def test_registered_tasks_that_differ_are_listed() -> None:
    found = diff(upgraded())
    assert [(task["name"], task["change"]) for task in found["tasks"]] == [
        ("new", "added"),
        ("trap.find", "altered"),
        ("trap.gone", "missing"),
    ]
    controller = upgraded()
    controller.generations[8] = replace(controller.generations[8], tasks=None)
    assert diff(controller)["unknown"] == "the tasks: no worker of generation 8 has told them"
    assert diff(controller)["tasks"] == []


def test_distributions_and_files_that_differ_are_listed() -> None:
    found = diff(upgraded())
    assert [one["text"] for one in found["distributions"]] == [
        "black absent -> 24",
        "ipython 8.0 -> absent",
        "trap 1.3.0 -> 1.4.0",
    ]
    assert found["distributions"][0] == {"name": "black", "before": None, "after": "24", "text": "black absent -> 24"}
    assert [(one["change"], one["path"].rpartition("/")[2]) for one in found["files"]] == [
        ("changed", "b.py"),
        ("removed", "c.py"),
        ("added", "d.py"),
    ]
    assert (found["more_files"], found["unknown"]) == (0, "")


def test_what_cannot_be_compared_is_told() -> None:
    found = diff(upgraded(old={}, files={}))
    assert found["distributions"] == found["files"] == []
    assert found["unknown"] == (
        "the distributions: an earlier trapd made one of these generations;"
        " the files: the snapshot of generation 7 is not there"
    )


def test_of_very_many_files_the_rest_is_counted() -> None:
    controller = upgraded(files={f"code/{number}.py": b"" for number in range(MOST_FILES + 10)})
    assert diff(controller)["more_files"] == 13


def test_a_generation_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="cannot compare generation 99: no record of it is kept; there are: 7, 8"):
        diff(upgraded(), after=99)


def test_why_of_a_generation_tells_what_made_it_and_each_change() -> None:
    document = explain("generation 8")
    assert document["kind"] == "generation"
    told = [(step["what"], step["text"]) for step in document["chain"]]
    assert told[:4] == [
        ("generation", "generation 8: trap 1.3.0 -> 1.4.0 (by alice)"),
        ("changed", "black absent -> 24"),
        ("changed", "ipython 8.0 -> absent"),
        ("changed", "trap 1.3.0 -> 1.4.0"),
    ]
    assert told[4] == ("wanted", "trap 1.3.0 -> 1.4.0 (by alice)")


def test_why_of_a_generation_that_never_was_names_those_that_are_kept() -> None:
    with pytest.raises(UsageError, match=r"cannot explain generation 99: .*; there are: 7, 8"):
        explain("generation 99")


def test_the_verb_prints_a_line_for_each() -> None:
    out = io.StringIO()
    show(Screen(out), diff(upgraded()))  # type: ignore[arg-type]
    assert out.getvalue().splitlines() == [
        "black absent -> 24",
        "ipython 8.0 -> absent",
        "trap 1.3.0 -> 1.4.0",
        "added    task new",
        "altered  task trap.find: another signature",
        "missing  task trap.gone",
        "changed  code/trap/b.py",
        "removed  code/trap/c.py",
        "added    code/trap/d.py",
    ]
