"""The wiring: which parts there are, in which order they come up, and in which they go down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import sdnotify

from trapd import __version__, atomic, environment, layout
from trapd.backend.accounts import WorkerAccounts
from trapd.backend.embedded import EmbeddedBackend
from trapd.backend.embedded.relay import Relay
from trapd.backend.gauge import KernelGauge
from trapd.control.commands import Commands
from trapd.control.documents import Backend, DaemonState
from trapd.control.line import line
from trapd.control.metrics import EventCounts, Textfile
from trapd.control.needs import About
from trapd.control.notifier import Notifier
from trapd.control.problem_log import ProblemLog
from trapd.control.server import ControlServer
from trapd.controller import Controller
from trapd.errors import HistoryError, SettingsError, TrapdError
from trapd.event import Event, EventKind
from trapd.generations.collect import removable
from trapd.generations.snapshot import SnapshotStore
from trapd.history import SqliteHistory
from trapd.listening import keep_listening
from trapd.masking import mask
from trapd.model import InstanceId
from trapd.pins import Pins
from trapd.rollout import changes, condition
from trapd.rollout.absence import BOOT, absence
from trapd.rollout.boot import at_boot
from trapd.rollout.events import OUTSIDE
from trapd.settings import Settings, load, resolve_backend, variables
from trapd.settings.document import trust
from trapd.settings.saved import Saved
from trapd.settings.sealing import unsealed
from trapd.system_clock import SystemClock, boot, booted, same_boot, started
from trapd.task_contracts import TaskContracts
from trapd.tending import Tending
from trapd.triggers import Triggers
from trapd.troubles import Troubles, room
from trapd.units import current
from trapd.watch import Watch
from trapd.worker import launch

if TYPE_CHECKING:
    from trapd.backend.systemd.backend import SystemdBackend

log = logging.getLogger("trapd.daemon")
FIXED = ("backend", "state_directory", "runtime_directory", "watchdog", "worker_logs")  # of [trapd], as long as it runs
_LATEST = 1000  # events among which the start, or the stop, of the trapd before is looked for
DRAIN_SIGN = 5.0  # seconds between two signs of life while workers drain; three may get lost


class Daemon:
    """One trapd. ``run`` it once; it returns when it was told to stop and, where it has to, its workers are gone."""

    def __init__(self, settings: Settings, *, contained: bool = False) -> None:
        self.settings, self.clock, self._contained = settings, SystemClock(), contained
        self.state: DaemonState = "starting"
        self.trouble = ""
        self._cut_off: TrapdError | None = None  # why nobody reaches us any more
        self.systemd: SystemdBackend | None = None  # where systemd runs the workers
        self._began, self._machine_began, self._boot = self.clock.now(), started(), boot()
        self._orders: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._notifier = sdnotify.SystemdNotifier()
        self._files = layout.State(settings.state_directory)
        self._runtime = layout.Runtime(settings.runtime_directory)
        self.history = SqliteHistory(self._files.history)
        self.snapshots = SnapshotStore(self._files.generations)
        self.backend = self._make_backend()
        self.controller = Controller(
            settings.pools,
            backend=self.backend,
            snapshots=self.snapshots,
            history=self.history,
            clock=self.clock,
            gauge=KernelGauge(),
            collect=removable,
            accounts=WorkerAccounts(layout.WORKERS_RUNTIME if self.systemd else self._runtime.path),
            application=settings.application,
            booted=booted(),
        )
        self.triggers = Triggers(self.controller)
        self.tending, self.pins = Tending(self.controller, self.triggers), Pins(self.controller, self.triggers)
        self.watch, self._saved = self._make_watch(), Saved(settings)
        self.triggers.take_as_it_is = lambda: self.watch.take_as_it_is()
        self.troubles = Troubles(self._own_troubles, self._troubles_on_disk, self.controller)
        backend: Backend = "systemd" if self.systemd else "embedded"
        told = self.troubles.now, self._warnings, lambda: self.watch.hears
        about = About(__version__, os.getpid(), backend, lambda: self.state, *told)
        self._make_telling(about)

    def _make_telling(self, about: About) -> None:
        """Make what others learn from: the control socket, notifications, metrics, events of problems."""
        self.notifier = Notifier(
            self.controller,
            clock=self.clock,
            host=about.host,
            settings=self.settings.notify,
            start_unit=self.systemd.start_other if self.systemd else None,
        )
        self.commands = self._make_commands(about)
        self.textfile = Textfile(lambda: self.commands.context, self.settings.metrics)
        self.control = ControlServer(self._runtime.control, commands=self.commands)
        self.problems = ProblemLog(
            self.commands.context,
            lambda events, notes: self.controller.save([], events, notes=notes),
            self.troubles.put_off,
            self.settings.notify.problem_after,
        )

    def _make_backend(self) -> EmbeddedBackend | SystemdBackend:
        def wake(pool: str) -> None:
            self.controller.wake(pool)

        if resolve_backend(self.settings) == "systemd":
            from trapd.backend.systemd.backend import SystemdBackend  # D-Bus costs memory where nobody needs it

            watchdog = self.settings.watchdog
            self.systemd = SystemdBackend(
                reports=layout.Runtime(layout.WORKERS_RUNTIME).instances,
                clock=self.clock,
                on_change=wake,
                watchdog=watchdog,
                on_shutdown=self._machine_goes_down,
            )
            return self.systemd
        where = self.settings.worker_logs
        out = where == "stdout" or (where == "auto" and self._contained)
        return EmbeddedBackend(
            command=self._command,
            runtime=self._runtime.path,
            logs=self._files.logs,
            relay=Relay(self._files.logs) if out else None,
            start_timeout=lambda instance: self.controller.pool(instance.pool).spec.policy.progress_deadline,
            watchdog=self.settings.watchdog,
            clock=self.clock,
            on_change=wake,
        )

    def _make_commands(self, about: About) -> Commands:
        return Commands(
            self.controller,
            self.triggers,
            about=about,
            clock=self.clock,
            look=lambda: self.watch.look(),
            accounts=self.controller.accounts,
            notifier=self.notifier,
            counts=EventCounts(self.history),
            pins=self.pins,
        )

    def _make_watch(self) -> Watch:
        application, watch = self.settings.application, self.settings.watch
        return Watch(
            python=Path(application.python),
            celeryconfig=Path(application.celeryconfig),
            distributions=watch.distributions,
            snapshot=watch.snapshot,
            quiet_period=watch.quiet_period,
            ceiling=watch.ceiling,
            clock=self.clock,
            on_disk=self.triggers.disk_changed,
            trust=trust,
            silent_look=watch.look,
            condition=lambda: condition.wanted(self.controller.states.values(), self.controller.generations),
            environment=variables.of(application),
            paths=variables.paths(self.settings.pools),
            loaded=lambda: changes.loaded(self.controller.generations.values()),
            on_trouble=lambda: self.controller.notify(),
            on_installer=lambda at_work: self.snapshots.expect(make=at_work),
            earlier=lambda: not all(g.distributions for g in self.controller.generations.values()),
        )

    def _command(self, instance: InstanceId) -> tuple[list[str], dict[str, str]]:
        own = environment.directories(self._files.path, self._runtime.path)
        return launch.command(self._files.generations, self._runtime.path, instance.name, {**os.environ, **own})

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Come up, keep the pools, go down in the reverse order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._orders.put_nowait, number)
        async with contextlib.AsyncExitStack() as down:
            down.callback(self.history.close)
            try:
                await self.backend.open()
            except OSError as error:
                where = f"{error.filename or self.settings.runtime_directory}: {(error.strerror or str(error)).lower()}"
                raise TrapdError(f"cannot use [trapd] runtime_directory: {where}") from error
            down.push_async_callback(self.backend.close)
            for gap in await asyncio.to_thread(current.gaps, self.settings):
                log.error("%s", gap)
            await self.control.open()
            down.push_async_callback(self.control.close)
            self._record_absence()
            self._record(EventKind.TRAPD_STARTED, f"trapd {__version__} with {self.settings.file}")
            self.triggers.compare(await self.backend.observe())
            async with asyncio.TaskGroup() as tasks:
                works = [self.controller.run(), self._feed_watchdog(), self._follow(), self._keep_listening()]
                works += [self.tending.run(), TaskContracts(self.controller, self.controller.accounts).run()]
                works += [self.notifier.run(), self.textfile.run(), self.pins.run()]
                works += [self.systemd.kept_connected()] if self.systemd else []
                keeping = [tasks.create_task(work) for work in works]
                self.state = "running"
                self._notify("READY=1")
                log.info("trapd %s runs: %s", __version__, self.settings.file)
                self._record(EventKind.TRAPD_STOPPED, await self._run_until_stopped(tasks))
                for task in keeping:
                    task.cancel()
        if self._cut_off is not None:
            raise self._cut_off

    def _record_absence(self) -> None:
        history, wall = self.history, self.clock.wall()
        with contextlib.suppress(HistoryError):  # trapctl status has it
            same = same_boot(history.note(BOOT), self._boot)
            events = absence(history.events(limit=_LATEST), history.unfinished(), wall, self._machine_began, same)
            self.controller.save([], events, notes={BOOT: self._boot})

    def _record(self, kind: EventKind, reason: str) -> None:
        lasted = round(self.clock.now() - self._began, 3) if kind.lasted else None
        with contextlib.suppress(HistoryError):  # trapctl status has it
            self.controller.save([], [Event(self.clock.wall(), kind, reason, OUTSIDE, duration=lasted)])

    async def _run_until_stopped(self, tasks: asyncio.TaskGroup) -> str:
        """Watch, and do what signals say, until one of them ends us. Returns what becomes of the workers."""
        watching = tasks.create_task(self.watch.run(), name="watch")
        while await self._orders.get() is signal.SIGHUP:
            if await self._reload():
                watching.cancel()
                watching = tasks.create_task(self.watch.run(), name="watch")
        watching.cancel()
        self.state = "stopping"
        if await self._leaves_workers():
            self._notify("STOPPING=1")
            if self.controller.going_down:
                return "the machine goes down, and each worker finishes its tasks by itself"
            log.info("stopping; the workers stay, and the next trapd adopts them")
            return "the workers stay, and the next trapd adopts them"
        await self._drain(tasks)
        return "every worker has finished its tasks and left"

    async def _leaves_workers(self) -> bool:
        """Under systemd only ``systemctl stop`` means the workers too: not a restart, an upgrade, or a bare kill.

        When the machine goes down systemd stops every unit itself, and each worker drains on its own.
        """
        if not self.systemd:
            return False
        try:
            return await self.systemd.own_job() != "stop" or await self.systemd.shuts_down()
        except TrapdError as error:
            log.warning("%s; leaving the workers", error)
            return True

    def _machine_goes_down(self, down: bool) -> None:
        if down is not self.controller.going_down and (down or self.state == "running"):
            goes = "goes down: no worker is started any more; each drains by itself, for as long as its unit allows"
            log.info("the machine %s", goes if down else "stays up: its shutdown was cancelled")
            self.controller.go_down(down)

    async def _drain(self, tasks: asyncio.TaskGroup) -> None:
        """However long their tasks take: systemd is asked for more time as long as somebody works."""
        stopping = tasks.create_task(self.controller.stop(), name="stop")
        log.info("stopping; workers that finish their tasks: %d", len(await self.backend.observe()))
        self._notify("STOPPING=1")
        while not stopping.done():
            self._notify(f"EXTEND_TIMEOUT_USEC={DRAIN_SIGN * 3e6:.0f}")
            await asyncio.wait({stopping}, timeout=DRAIN_SIGN if self._notifier.socket else None)

    async def _reload(self) -> bool:
        """Read trapd.toml again. True if the watch has to begin anew; a bad configuration changes nothing."""
        self._notify("RELOADING=1")
        try:
            fresh = await asyncio.to_thread(load, self.settings.file)
            for name in FIXED:
                if getattr(fresh, name) != getattr(self.settings, name):
                    raise SettingsError(
                        "cannot change this while trapd runs",
                        file=str(fresh.file),
                        key=f"trapd.{name}",
                        remedy="restart trapd",
                    )
        except SettingsError as error:
            self.trouble = mask(f"{error}; the configuration read before stays in force")
            log.error("%s", self.trouble)
            return False
        else:
            self.trouble = ""
            log.info("read %s again", fresh.file)
            await self._use(fresh)
            return True
        finally:
            self._notify("READY=1")
            self.controller.notify()

    async def _use(self, fresh: Settings) -> None:
        self.settings, self._saved, old = fresh, await asyncio.to_thread(Saved, fresh), self.settings
        self.textfile.settings = fresh.metrics
        self.notifier.settings, self.problems.after = fresh.notify, fresh.notify.problem_after
        self.watch = await asyncio.to_thread(self._make_watch)  # it reads the environment file
        if (fresh.application, fresh.watch) != (old.application, old.watch):
            # what was seen is not what these settings name
            self.controller.disk = self.watch.disk
        try:
            await self.triggers.reconfigure(fresh.pools, application=fresh.application)
        except TrapdError as error:  # a full disk, say
            log.error("%s; trying again when the watch has looked at the disk", error)

    # -- what systemd hears ----------------------------------------------------------------------------------------

    def _notify(self, *lines: str) -> None:
        # sdnotify speaks latin-1 and drops the rest, systemd UTF-8: what both read is ASCII
        self._notifier.notify("\n".join(lines).encode("ascii", "replace").decode("ascii"))

    async def _feed_watchdog(self) -> None:
        """WATCHDOG=1 for as long as this loop turns, at a third of the time that systemd allows."""
        allowed = int(os.environ.get("WATCHDOG_USEC") or 0) / 1e6
        while allowed:
            self._notify("WATCHDOG=1")
            await asyncio.sleep(allowed / 3)

    async def _follow(self) -> None:
        """Whenever one of them changes: the line that ``systemctl status`` shows, and what is started at boot."""
        sent, kept = "", None
        while True:
            changed = self.controller.changed()  # taken before the look
            troubles = await self.troubles.record(self.clock.wall())
            known = self.controller
            if (now := line(self.state, known.disk, known.pools(), troubles)) != sent:
                self._notify("STATUS=" + now.replace("\n", " "))
                sent = now
            if self.systemd and (boot := self._at_boot()) != kept:
                await asyncio.to_thread(_write, layout.BOOT, boot)
                kept = boot
            lasting = await self.problems.look(troubles)
            await asyncio.wait([changed], timeout=lasting)  # everybody's: not to be cancelled with us

    async def _keep_listening(self) -> None:
        """Where that cannot be, trapd ends as if told to, with the reason, so that its supervisor starts it again."""
        try:
            runtime = self.settings.runtime_directory
            await keep_listening(self.settings.file, runtime, self.controller, self._listen_again)
        except TrapdError as error:
            self._cut_off = error
            log.error("%s", error)
            self._orders.put_nowait(signal.SIGTERM)

    async def _listen_again(self) -> bool:
        """Whether anything was gone. Raises OSError and TrapdError."""
        gone = await self.control.keep_listening()
        if isinstance(self.backend, EmbeddedBackend):  # systemd listens to its workers itself
            gone = await self.backend.keep_listening() or gone
        return gone

    def _at_boot(self) -> str:
        known = self.controller
        instances = at_boot(known.specs, known.states, known.generations, self.snapshots.present())
        return "".join(f"{instance.unit}\n" for instance in instances)

    def _own_troubles(self) -> list[str]:
        told = (self.notifier.trouble, self.textfile.trouble, *self.snapshots.troubles(), *self.watch.troubles())
        return [self.trouble, self.triggers.lost_end, *told, *self.tending.troubles()]

    def _troubles_on_disk(self) -> list[str]:
        """In a thread. What is said already, in other words, is not said twice."""
        return [
            "" if self.trouble else self._saved.problem(),
            room(self._files.path) or self.controller.trouble,
        ]

    def _warnings(self) -> list[str]:
        return [w for w in (unsealed(self.settings), *self.watch.warnings(), *self.tending.warnings()) if w]


def _write(path: Path, text: str) -> None:
    """trapd-boot.service reads it after a power cut, too."""
    try:
        atomic.write(path, text)
    except OSError as error:
        log.error("cannot write %s: %s; after a boot workers wait for trapd", path, error.strerror)


async def serve(settings: Settings, *, contained: bool = False) -> None:
    """Run trapd until it is told to stop. ``contained``: in a container."""
    await Daemon(settings, contained=contained).run()
