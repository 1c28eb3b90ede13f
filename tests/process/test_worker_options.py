"""What trapd.toml says of a pool has the effect that the same option of `celery worker` has."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support.snapshots import NAPS
from tests.support.worker_lab import WorkerLab, client_warnings
from trapd.spec import PoolSpec

pytestmark = client_warnings

JOBS = (
    NAPS
    + """
from celery.worker.control import inspect_command

app.config_from_object("celeryconfig")


@inspect_command()
def untold(state):  # what ``celery inspect stats`` does not show
    worker = state.consumer.controller
    return {"max_memory_per_child": worker.max_memory_per_child, "optimization": worker.optimization}


@app.task
def environment(name):
    return os.environ.get(name)
"""
)
PLAIN = "plain@here"


def plain_worker(lab: WorkerLab, *options: str) -> subprocess.Popen[bytes]:
    """`celery worker` itself, on the same code and settings."""
    generation = lab.generations / "7"
    path = os.pathsep.join([str(generation / "code"), str(generation / "etc")])
    command = [sys.executable, "-m", "celery", "-A", "naps.jobs", "worker", "-n", PLAIN, *options]
    with (lab.logs / "plain.log").open("w") as log:
        return subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def of_interest(stats: dict[str, Any]) -> dict[str, Any]:
    pool = stats["pool"]
    names = ("max-concurrency", "max-tasks-per-child", "timeouts", "implementation")
    return {"prefetch_count": stats["prefetch_count"], **{name: pool[name] for name in names}}


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
async def test_options_of_a_pool_are_those_of_celery_worker(
    short_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    broker = make_broker(kind, request)
    secrets = short_path / "secrets.env"
    secrets.write_text("SECRET='of the file'\nBOTH=file\n")
    more = {"environment": {"BOTH": "table"}, "environment_file": str(secrets), "loglevel": "DEBUG", "statedb": "%n"}
    queues = {"queues": (broker.queue, f"{broker.queue}-b"), "exclude_queues": (f"{broker.queue}-b",)}
    limits = {"time_limit": 50.0, "soft_time_limit": 40.0, "max_memory_per_child": 500000, "prefetch_multiplier": 3}
    spec = PoolSpec("default", concurrency=2, optimization="fair", **more, **queues, **limits)  # type: ignore[arg-type]
    # of each that trapd.toml says, Celery's settings say something else; of one, only they do
    conf = {"task_time_limit": 9, "worker_prefetch_multiplier": 9, "worker_max_tasks_per_child": 7}
    lab = WorkerLab(
        short_path, broker, files={"naps/jobs.py": JOBS}, celeryconfig=f"\nglobals().update({conf!r})\n", spec=spec
    )
    options = ["-c", "2", "-Q", ",".join(spec.queues), "-X", spec.exclude_queues[0], "--prefetch-multiplier", "3"]
    options += ["--time-limit", "50", "--soft-time-limit", "40", "--max-memory-per-child", "500000", "-O", "fair"]

    async with lab:
        await lab.start()
        plain = plain_worker(lab, *options)
        try:
            names = ("active_queues", lambda qs: [q["name"] for q in qs])
            for command, shown in (("stats", of_interest), names, ("untold", dict)):
                answers = {k: shown(v) for one in await lab.ask(command, workers=2) for k, v in one.items()}
                theirs = answers.pop(PLAIN)
                assert list(answers.values()) == [theirs]
        finally:
            plain.terminate()
            await asyncio.to_thread(plain.wait)
        assert [await lab.call("environment", name) for name in ("SECRET", "BOTH")] == ["of the file", "file"]
        assert "DEBUG" in lab.told()
        manifest = (lab.generations / "7/manifest.json").read_text()
        assert "of the file" not in manifest
        assert json.loads(manifest)["pools"]["default"]["environment_file"] == str(secrets)
        await lab.drain()
        assert {path.name.partition(".")[0] for path in (short_path / "workers/default").iterdir()} == {"default-7-1"}


async def test_without_its_environment_file_nothing_starts_and_the_reason_is_said(
    short_path: Path, request: pytest.FixtureRequest
) -> None:
    absent = short_path / "absent.env"
    spec = PoolSpec("default", environment_file=str(absent))
    lab = WorkerLab(short_path, make_broker("embedded", request), spec=spec)

    async with lab:
        summary = (await lab.fail()).summary
        assert summary == (
            f"cannot start: cannot use the environment file {absent}: no such file or directory; see that workers can "
            "read it, or correct [pools.default] environment_file"
        )
