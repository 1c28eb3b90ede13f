"""The wiring: which parts there are, in which order they come up, and in which they go down."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import sdnotify

from trapd import __version__
from trapd.backend.embedded import EmbeddedBackend
from trapd.contracts import Clock
from trapd.control.commands import Commands
from trapd.control.needs import About
from trapd.control.server import ControlServer
from trapd.errors import SettingsError, TrapdError
from trapd.generations.collect import removable
from trapd.generations.snapshot import SnapshotStore
from trapd.history import SqliteJournal
from trapd.model import InstanceId
from trapd.service import Service
from trapd.settings import Settings, resolve_backend
from trapd.watch import Watch
from trapd.worker import launch

log = logging.getLogger("trapd.daemon")


class SystemClock(Clock):
    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class Daemon:
    """One trapd. ``run`` it once; it returns when it was told to stop and its workers are gone."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.clock = settings, SystemClock()
        self.state = "starting"
        self._stop = asyncio.Event()
        self.backend_name = _backend_name(settings)
        self.journal = SqliteJournal(settings.state_directory / "history.sqlite")
        self.snapshots = SnapshotStore(
            settings.state_directory / "generations",
            app=settings.app.app,
            python=settings.app.python,
            smoke_test=settings.app.smoke_test,
        )
        self.backend = EmbeddedBackend(
            command=self._command,
            runtime=settings.runtime_directory,
            logs=settings.state_directory / "logs",
            start_timeout=self._start_timeout,
            watchdog=settings.watchdog,
            clock=self.clock,
            on_change=lambda pool: self.service.wake(pool),
        )
        self.service = Service(
            settings.pools,
            backend=self.backend,
            snapshots=self.snapshots,
            journal=self.journal,
            clock=self.clock,
            collect=removable,
            application=f"{settings.app.app} {settings.app.smoke_test or ''}",
        )
        self.watch = Watch(
            python=settings.app.python,
            celeryconfig=settings.app.celeryconfig,
            distributions=settings.watch.distributions,
            quiet_period=settings.watch.quiet_period,
            ceiling=settings.watch.ceiling,
            clock=self.clock,
            on_disk=self.service.disk_changed,
        )
        about = About(__version__, os.getpid(), self.backend_name, lambda: self.state)
        commands = Commands(self.service, about=about, clock=self.clock)
        self.control = ControlServer(settings.runtime_directory / "control.sock", commands=commands)

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Come up, keep the pools, go down in the reverse order. Workers drain before this returns."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        tell = sdnotify.SystemdNotifier()
        await self.backend.open()
        try:
            await self.control.open()
            try:
                tell.notify(f"READY=1\nSTATUS=keeping {len(self.service.specs)} pool(s), {self.backend_name} backend")
                await self._keep()
            finally:
                await self.control.close()
        finally:
            await self.backend.close()
            self.journal.close()

    async def _keep(self) -> None:
        pools, watch = asyncio.create_task(self.service.run()), asyncio.create_task(self.watch.run())
        stop = asyncio.create_task(self._stop.wait())
        self.state = "running"
        log.info(
            "trapd %s runs (pid %d, %s backend, %s)", __version__, os.getpid(), self.backend_name, self.settings.file
        )
        try:
            done, _ = await asyncio.wait({pools, watch, stop}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
            self.state = "stopping"
            log.info("stopping: %d worker(s) finish their tasks", len(await self.backend.observe()))
            sdnotify.SystemdNotifier().notify("STOPPING=1\nSTATUS=workers finish their tasks")
            await self.service.stop()
        finally:
            for task in (watch, pools, stop):
                task.cancel()
            await asyncio.gather(watch, pools, stop, return_exceptions=True)

    # -- what the parts need of each other -------------------------------------------------------------------------

    def _command(self, instance: InstanceId) -> tuple[list[str], dict[str, str]]:
        state, runtime = self.settings.state_directory, self.settings.runtime_directory
        own = {"TRAPD_STATE_DIRECTORY": str(state), "TRAPD_RUNTIME_DIRECTORY": str(runtime)}
        return launch.command(state / "generations", runtime, instance.name, {**os.environ, **own})

    def _start_timeout(self, instance: InstanceId) -> float:
        return self.service.pool(instance.pool).spec.policy.progress_deadline


def _backend_name(settings: Settings) -> str:
    if settings.backend == "systemd":
        raise SettingsError(
            "cannot use the systemd backend: this version of trapd does not have it yet",
            file=str(settings.file),
            key="trapd.backend",
            remedy='set backend = "embedded"',
        )
    if resolve_backend(settings) == "systemd":
        log.info("this machine runs systemd, but this version of trapd has the embedded backend only")
    return "embedded"


@contextlib.contextmanager
def only_one(state_directory: Path) -> Iterator[None]:
    """Hold the state directory for this process. Raises TrapdError if another trapd has it."""
    try:
        state_directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(state_directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TrapdError(f"cannot use the state directory {state_directory}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TrapdError(f"cannot start: another trapd uses {state_directory}; stop it, or set another") from None
    else:
        yield
    finally:
        os.close(handle)


async def serve(settings: Settings) -> None:
    """Run trapd until it is told to stop."""
    await Daemon(settings).run()
