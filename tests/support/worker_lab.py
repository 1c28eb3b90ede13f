"""Real Celery workers on snapshots made by hand, run by the embedded backend."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import Broker
from tests.support.snapshots import make_generation
from tests.support.stages import PATIENCE, EmbeddedStage, Seen
from trapd.backend.accounts import WorkerAccounts
from trapd.contracts import STOP_TIME, Ended
from trapd.event import Became
from trapd.model import Failure, Instance, InstanceId, InstanceState
from trapd.spec import PoolSpec
from trapd.worker import launch

ONE = InstanceId("default", 7, 1)

# For the modules that use this: Celery's client leaves connections to the garbage collector.
client_warnings = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class WorkerLab(EmbeddedStage):
    """A stage whose workers are real. ``celeryconfig`` is appended to the broker's settings."""

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        *,
        files: Mapping[str, str] | None = None,
        celeryconfig: str = "",
        spec: PoolSpec | None = None,
        start_timeout: float = 30.0,
        watchdog: float = 30.0,
        stop_time: float = STOP_TIME,
        **manifest: object,
    ) -> None:
        super().__init__(directory, start_timeout, watchdog, stop_time)
        self.generations, self.broker, self.client = directory / "generations", broker, broker.app()
        self.spec = spec or PoolSpec("default", concurrency=1)
        self._config = broker.celeryconfig() + celeryconfig
        self.generation(7, files, **manifest)

    def generation(self, number: int, files: Mapping[str, str] | None = None, **manifest: object) -> Path:
        return make_generation(
            self.generations,
            number,
            celeryconfig=self._config,
            python=sys.executable,
            files=files,
            pools={"default": self.spec},
            **manifest,  # type: ignore[arg-type]
        )

    def _command(self, id: InstanceId) -> tuple[list[str], dict[str, str]]:
        return launch.command(self.generations, self.runtime, id.name, {**os.environ, **self.environment})

    async def start(self, id: InstanceId = ONE) -> Instance:
        """Start a worker and wait for its READY."""
        await self.backend.start(id)
        seen = await self.until(lambda seen: _over(seen, id))
        assert seen[id].state is InstanceState.READY, self.told(id)
        return seen[id]

    async def fail(self, id: InstanceId = ONE) -> Failure:
        """Start a worker that does not get ready, or does not stay so."""
        await self.backend.start(id)
        return await self.failure(id)

    async def failure(self, id: InstanceId = ONE) -> Failure:
        failure = (await self.until(lambda seen: id in seen and seen[id].state is InstanceState.FAILED))[id].failure
        assert failure is not None
        return failure

    async def drain(self, id: InstanceId = ONE) -> None:
        """Drain it and wait until it is gone; a failure if it leaves in any other way than by exit status 0."""
        await self.backend.drain(id)
        seen = await self.until(lambda seen: id not in seen or seen[id].state is InstanceState.FAILED)
        assert id not in seen, self.told(id)

    async def receipt(self, id: InstanceId = ONE) -> dict[str, Became]:
        """What became of the tasks of a run that has ended, by id."""
        tasks = await WorkerAccounts(self.runtime).left(Ended(id.name, None, 0.0))
        return {task.id: task.became for task in tasks}

    async def send(self, task: str, *arguments: object, **options: Any) -> Any:
        """Send a task; the result to be waited for with ``result``."""
        return await asyncio.to_thread(self.client.send_task, f"naps.jobs.{task}", arguments, **options)

    async def result(self, sent: Any) -> Any:
        return await asyncio.to_thread(sent.get, timeout=PATIENCE)

    async def call(self, task: str, *arguments: object) -> Any:
        return await self.result(await self.send(task, *arguments))

    async def ask(self, command: str, workers: int = 1) -> list[dict[str, Any]]:
        """Broadcast a command until so many workers have answered it: on Redis they listen a moment after they are
        ready, and nobody keeps a broadcast."""
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers[:] = self.client.control.broadcast(command, reply=True, timeout=1.0) or ()
            return len(answers) >= workers

        await asyncio.to_thread(wait, answered)
        return answers

    def told(self, id: InstanceId = ONE) -> str:
        """The worker's output."""
        path = self.logs / f"{id.name}.log"
        return path.read_text() if path.exists() else ""

    async def __aexit__(self, *error: object) -> None:
        try:
            await super().__aexit__(*error)
        finally:
            self.client.close()
            del self.client
            gc.collect()  # now, where the warnings about what the client leaves open are expected


def wait(condition: Callable[[], bool]) -> None:
    """Until it is so; blocks."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def _over(seen: Seen, id: InstanceId) -> bool:
    return id in seen and seen[id].state not in (InstanceState.STARTING, InstanceState.STOPPING)
