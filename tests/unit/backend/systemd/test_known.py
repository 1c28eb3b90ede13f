"""What is known of all instances, with real report files and a journal that is a shell script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.virtual_clock import VirtualClock
from tests.unit.backend.systemd.test_record import ASKED, CRASHED, DRAINING, END, GONE, ONE, READY, STARTING
from trapd.backend.systemd import journal
from trapd.backend.systemd.facts import Facts
from trapd.backend.systemd.known import Known
from trapd.model import FailureKind, InstanceId, InstanceState

TWO = InstanceId("gpu", 8, 2)
REPORT = {"pid": 5, "generation": 7, "digest": "d", "versions": {}, "strays": [], "failure": None}

Opened = Callable[[], AbstractAsyncContextManager[tuple[Known, list[str]]]]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens a fresh Known, whose journal holds one line; with it come the pools whose change was told."""

    @asynccontextmanager
    async def on_loop() -> AsyncIterator[tuple[Known, list[str]]]:
        changed: list[str] = []
        script = ["sh", "-c", "echo it was the disk, redis://:secret@h"]
        known = Known(reports=tmp_path, journalctl=script, clock=VirtualClock(), on_change=changed.append)
        yield known, changed
        await known.close()

    return on_loop


def write(folder: Path, **more: object) -> None:
    (folder / f"{ONE.name}.json").write_text(json.dumps(REPORT | more))


async def test_ready_is_not_shown_before_the_report_is_read(opened: Opened, tmp_path: Path) -> None:
    async with opened() as (known, changed):
        write(tmp_path, strays=["a=b"])
        known.receive(ONE, STARTING)
        known.receive(ONE, READY)
        (starting,) = known.seen(0.0)
        assert starting.state is InstanceState.STARTING
        await known.settled()
        (ready,) = known.seen(0.0)
        assert ready.state is InstanceState.READY
        assert ready.report is not None
        assert ready.report.mixed
        assert changed == ["default", "default"]


async def test_a_failure_comes_with_the_last_words(opened: Opened) -> None:
    async with opened() as (known, _):
        known.receive(ONE, CRASHED)
        assert known.seen(0.0) == ()
        await known.settled()
        (failed,) = known.seen(0.0)
        assert failed.failure is not None
        assert (failed.failure.kind, failed.failure.at) == (FailureKind.CRASH, CRASHED.ended)
        assert failed.failure.detail == "it was the disk, redis://:***@h"


async def test_the_workers_own_account_is_preferred_and_only_its_own(opened: Opened, tmp_path: Path) -> None:
    async with opened() as (known, _):
        for pid, summary in ((5, "ImportError"), (6, "exited with status 1")):
            write(tmp_path, pid=pid, failure={"kind": "code", "summary": "ImportError", "detail": "Traceback"})
            known.receive(ONE, CRASHED)
            await known.settled()
            failure = known.seen(0.0)[0].failure
            assert failure is not None
            assert failure.summary == summary
            known.drop(known[ONE])


async def test_what_looks_the_same_is_not_told(opened: Opened) -> None:
    async with opened() as (known, changed):
        known.receive(ONE, STARTING)
        known.receive(ONE, replace(STARTING, changed=11.0))
        assert changed == ["default"]


async def test_a_dead_worker_is_never_shown_ready_while_its_words_are_read(opened: Opened) -> None:
    async with opened() as (known, changed):
        known.receive(ONE, READY)
        await known.settled()
        del changed[:]
        known.receive(ONE, CRASHED)
        (dying,) = known.seen(0.0)
        assert (dying.state, dying.ready_at, changed) == (InstanceState.STOPPING, READY.ready, ["default"])
        await known.settled()
        (dead,) = known.seen(0.0)
        assert dead.state is InstanceState.FAILED


async def test_one_that_is_gone_is_forgotten(opened: Opened) -> None:
    async with opened() as (known, _):
        for facts in (STARTING, replace(STARTING, job=2), DRAINING, END, GONE):
            known.receive(ONE, facts)
            await known.settled()
        assert known.seen(0.0) == ()
        known.receive(ONE, GONE)
        assert known[ONE] is not known[ONE]  # there is none


async def test_a_listing_brings_what_was_missed(opened: Opened) -> None:
    async with opened() as (known, changed):
        known.receive(ONE, READY)
        await known.settled()
        known.begin_listing()
        known.listed({TWO: STARTING})
        assert [one.id for one in known.seen(0.0)] == [TWO]
        assert changed == ["default", "gpu", "default"]


async def test_what_is_heard_during_a_listing_is_newer_than_the_listing(opened: Opened) -> None:
    async with opened() as (known, _):
        known.receive(ONE, READY)
        await known.settled()
        known.begin_listing()
        for facts in (ASKED, DRAINING, END, GONE):
            known.receive(ONE, facts)
        known.receive(TWO, STARTING)
        await known.settled()
        known.listed({ONE: READY})
        assert [one.id for one in known.seen(0.0)] == [TWO]


async def test_one_that_left_unasked_stays_though_no_listing_has_it(opened: Opened) -> None:
    async with opened() as (known, _):
        known.receive(ONE, READY)
        known.receive(ONE, replace(END, job=0))
        await known.settled()
        known.begin_listing()
        known.listed({})
        assert [one.state for one in known.seen(0.0)] == [InstanceState.FAILED]
        known.drop(known[ONE])
        assert known.seen(0.0) == ()


async def test_a_late_word_of_an_old_record_does_not_replace_a_new_one(opened: Opened) -> None:
    async with opened() as (known, _):
        known.receive(ONE, STARTING)
        old = known[ONE]
        known.drop(old)
        known.receive(ONE, replace(STARTING, invocation="b"))
        known.moved(old)
        assert known[ONE].facts.invocation == "b"


async def test_one_waits_for_what_comes_and_not_for_ever(opened: Opened) -> None:
    async with opened() as (known, _):
        record = known[ONE]
        known.receive(ONE, STARTING)
        record = known[ONE]
        waiting = asyncio.create_task(known.until(record, lambda: record.facts.active == "active", 60.0))
        known.receive(ONE, replace(STARTING, sub="start-post"))
        await asyncio.sleep(0)
        assert not waiting.done()
        known.receive(ONE, READY)
        await waiting
        await known.until(record, lambda: False, 0.01)


def test_a_journal_that_cannot_be_read_costs_only_the_last_words(tmp_path: Path) -> None:
    for command in (["/nowhere/journalctl"], ["sh", "-c", "exit 1"]):
        assert asyncio.run(journal.of_run(command, "a")) == ""


LATE = """
case "$*" in
    *MESSAGE_ID=*) echo >>{0}; [ $(wc -l <{0}) -lt 3 ] || echo Main process exited ;;
    *) echo hello; [ $(wc -l <{0}) -lt 3 ] || echo it was the disk ;;
esac
"""


def test_the_last_words_are_not_read_before_the_end_is_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PAUSES", (0.0,) * 4)
    script = ["sh", "-c", LATE.format(tmp_path / "looks")]
    assert asyncio.run(journal.of_run(script, "a")) == "hello\nit was the disk"
    monkeypatch.setattr(journal, "PAUSES", (0.0,))
    assert asyncio.run(journal.of_run(["sh", "-c", LATE.format(tmp_path / "fewer")], "a")) == "hello"


def test_of_a_run_that_said_nothing_systemds_own_words_are_told() -> None:
    script = ["sh", "-c", 'case "$*" in *" INVOCATION_ID=a"*) echo Failed at step EXEC;; esac']
    assert asyncio.run(journal.of_run(script, "a")) == "Failed at step EXEC"


async def test_facts_of_nobody_are_no_record(opened: Opened) -> None:
    async with opened() as (known, changed):
        known.receive(ONE, Facts())
        assert (known.seen(0.0), changed) == ((), [])
