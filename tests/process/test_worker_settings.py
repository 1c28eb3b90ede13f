"""Real workers and their settings: what plain `celery worker` would have, they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker
from tests.support.snapshots import NAPS
from tests.support.worker_lab import WorkerLab, client_warnings
from trapd.spec import PoolSpec

pytestmark = client_warnings


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    return make_broker("embedded", request)


@pytest.fixture
def redis(request: pytest.FixtureRequest) -> Broker:
    return make_broker("redis", request)


async def stats(lab: WorkerLab) -> dict[str, object]:
    """Of the Celery pool of the only worker."""
    async with lab:
        await lab.start()
        assert await lab.call("nap", 0)
        [[answer]] = [list(answer.values()) for answer in await lab.ask("stats")]
    found: dict[str, object] = answer["pool"]
    return found


@pytest.mark.parametrize(
    ("spec", "concurrency", "implementation"),
    [(PoolSpec("default"), 3, "thread"), (PoolSpec("default", concurrency=2, celery_pool="prefork"), 2, "prefork")],
    ids=["trapd.toml is silent", "trapd.toml speaks"],
)
async def test_celerys_settings_of_a_worker_count_where_trapd_toml_is_silent(
    short_path: Path, files: Broker, spec: PoolSpec, concurrency: int, implementation: str
) -> None:
    config = "worker_concurrency = 3\nworker_pool = 'threads'\nworker_max_tasks_per_child = 7\n"
    found = await stats(WorkerLab(short_path, files, celeryconfig=config, spec=spec))
    assert found["max-concurrency"] == concurrency
    assert implementation in str(found["implementation"])
    if implementation == "prefork":  # which trapd.toml does not mention
        assert found["max-tasks-per-child"] == 7


async def test_where_both_are_silent_a_worker_runs_one_task_at_a_time(short_path: Path, files: Broker) -> None:
    assert (await stats(WorkerLab(short_path, files, spec=PoolSpec("default"))))["max-concurrency"] == 1


@pytest.mark.parametrize("place", ["celeryconfig", "application"])
async def test_a_green_pool_that_the_settings_choose_is_patched_first_of_all_too(
    short_path: Path, redis: Broker, place: str
) -> None:
    """Plain Celery patches only for its option -P; under worker_pool it would not answer here."""
    own = NAPS + "\n\napp.conf.worker_pool = 'gevent'\n" if place == "application" else NAPS
    config = "worker_pool = 'celery.concurrency.gevent:TaskPool'\n" if place == "celeryconfig" else ""
    lab = WorkerLab(short_path, redis, celeryconfig=config, files={"naps/jobs.py": own}, spec=PoolSpec("default"))
    assert "gevent" in str((await stats(lab))["implementation"])
