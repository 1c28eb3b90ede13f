"""Results of jobs, whichever way they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trapd.backend.systemd.jobs import LOST, Jobs


async def answer(path: str, *before: Callable[[], None]) -> str:
    await asyncio.sleep(0)
    for act in before:
        act()
    return path


async def test_a_result_comes_after_the_answer() -> None:
    jobs = Jobs()
    job = await jobs.begin(answer("/job/1"))
    jobs.ended("/job/2", "failed")
    assert not job.done()
    jobs.ended("/job/1", "done")
    assert await job == "done"


async def test_a_result_may_come_before_the_answer() -> None:
    jobs = Jobs()
    job = await jobs.begin(answer("/job/1", lambda: jobs.ended("/job/1", "done")))
    assert await job == "done"


async def test_two_calls_may_lead_to_one_job() -> None:
    jobs = Jobs()
    one, two = await asyncio.gather(jobs.begin(answer("/job/1")), jobs.begin(answer("/job/1")))
    jobs.ended("/job/1", "done")
    assert (await one, await two) == ("done", "done")


async def test_results_of_others_jobs_are_not_kept() -> None:
    jobs = Jobs()
    jobs.ended("/job/1", "done")
    await jobs.begin(answer("/job/2", lambda: jobs.ended("/job/3", "done")))
    job = await jobs.begin(answer("/job/3"))
    assert not job.done()
    assert not (await jobs.begin(answer("/job/1"))).done()


async def test_a_call_that_fails_leaves_nothing() -> None:
    jobs = Jobs()

    async def refuse() -> str:
        jobs.ended("/job/1", "done")
        raise ValueError

    (failed,) = await asyncio.gather(jobs.begin(refuse()), return_exceptions=True)
    assert isinstance(failed, ValueError)
    assert not (await jobs.begin(answer("/job/1"))).done()


async def test_after_a_lost_connection_nobody_waits_for_ever() -> None:
    jobs = Jobs()
    job = await jobs.begin(answer("/job/1"))
    jobs.give_up()
    assert await job == LOST
