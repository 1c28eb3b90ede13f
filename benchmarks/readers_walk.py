"""Which files of trapd three things pass through, so that docs/design.md can say how far a reader has to go.

``python -m benchmarks.readers_walk``: (a) from a written file to StartUnit, (b) ``trapctl recycle --wait``, (c) from a
worker's READY to the table of ``trapctl status``. A real trapd runs in this process, with a real worker (b, c) or with
a systemd that knows no unit (a); a file counts if one of its functions was called meanwhile. So a module that only
defines values (``errors.py``, ``rollout/actions.py``) does not count: nobody has to read how it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from dbus_fast import MessageType

import trapd
from trapd import layout
from trapd.backend.embedded import notify
from trapd.backend.systemd import bus
from trapd.ctl.main import main as trapctl
from trapd.daemon import Daemon
from trapd.settings import load

PACKAGE = f"{Path(trapd.__file__).parent}/"
ROOT = Path(trapd.__file__).parents[1]
PATIENCE = 60.0  # s
APPLICATION = "from celery import Celery\n\napp = Celery('naps')\nVERSION = {version}\n"
# Read by the worker's interpreter before anything else: it notes through which files of trapd's READY is sent.
WORKERS_NOTES = """
import sys, threading
def note(frame, event, argument):
    if event == "call" and frame.f_code.co_name == "send" and "READY" in (frame.f_locals.get("fields") or ()):
        names = set()
        while frame:
            names.add(frame.f_code.co_filename.partition("/runtime/trapd/")[2])
            frame = frame.f_back
        open({notes!r}, "w").write("\\n".join(names))
threading.setprofile(note)
sys.setprofile(note)
"""


class Tracks:
    """Files whose functions were called, by side: trapctl is one thread, all others are the daemon."""

    def __init__(self) -> None:
        self.daemon: set[str] = set()
        self.client: set[str] = set()
        self.on = False
        self.clients_thread = 0
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename
        if self.on and event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED and file.startswith(PACKAGE):
            side = self.client if threading.get_ident() == self.clients_thread else self.daemon
            side.add(file.removeprefix(PACKAGE))

    def trapctl(self, *arguments: str) -> None:
        """To be called in a thread of its own."""
        self.clients_thread = threading.get_ident()
        with contextlib.redirect_stdout(io.StringIO()):
            trapctl(arguments)


class NoUnits:
    """The bus of a systemd that has no unit of ours; ``started`` is called when one of generation 2 is asked for."""

    started: Callable[[], None]

    def __init__(self, **_: object) -> None:
        self.connected = True
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None: ...

    def add_message_handler(self, handler: object) -> None: ...

    async def wait_for_disconnect(self) -> None:
        await self._end

    def disconnect(self) -> None:
        self.connected = False
        self._end.set_result(None)

    async def call(self, message: Any) -> Any:
        if message.member == "StartUnit":
            if "@2-" in message.body[0]:
                type(self).started()
            name = "org.freedesktop.systemd1.NoSuchUnit"
            return SimpleNamespace(body=["none"], error_name=name, message_type=MessageType.ERROR)
        body: list[object] = [{}] if message.member == "GetAll" else [0] if message.member == "Get" else [[]]
        return SimpleNamespace(body=body, error_name=None, message_type=MessageType.METHOD_RETURN)


def write(home: Path, version: int) -> None:
    (home / "site/naps").mkdir(parents=True, exist_ok=True)
    (home / "site/naps/__init__.py").write_text(APPLICATION.format(version=version))


def configure(home: Path, backend: str) -> Path:
    """An application that has long been there, and a trapd.toml for it."""
    write(home, 1)
    notes = WORKERS_NOTES.format(notes=str(home / "worker"))
    (home / "site/sitecustomize.py").write_text(notes)
    shutil.copy(ROOT / "etc/celeryconfig-embedded.py", home / "celeryconfig.py")
    (home / "celeryconfig.py").chmod(0o644)
    for path in (home / "celeryconfig.py", *(home / "site").rglob("*"), home / "site"):
        os.utime(path, (time.time() - 60, time.time() - 60))
    (home / "run").mkdir()
    (home / "state/generations").mkdir(parents=True)
    file = home / "trapd.toml"
    file.write_text(f"""
[trapd]
backend = "{backend}"
state_directory = "state"
runtime_directory = "run"
[app]
app = "naps:app"
celeryconfig = "celeryconfig.py"
python = {json.dumps(sys.executable)}
[watch]
distributions = ["naps"]
quiet_period = "500ms"
[rollout]
min_ready = "500ms"
[pools.default]
environment = {{ PYTHONPATH = {json.dumps(str(home / "site"))} }}
""")
    return file


class Walk:
    def __init__(self, home: Path, tracks: Tracks, backend: str) -> None:
        self.home, self.tracks = home, tracks
        self.file = configure(home, backend)
        self.daemon = Daemon(load(self.file))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not is_so():  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.05)

    def rests(self, generation: int) -> bool:
        view = self.daemon.controller.pool("default")
        rollout = view.state.rollout
        at_rest = not view.actions and not view.waiting
        return rollout is not None and rollout.generation == generation and rollout.state.over and at_rest

    async def trapctl(self, *arguments: str) -> None:
        with ThreadPoolExecutor(1) as thread:
            command = ("--config", str(self.file), *arguments)
            await asyncio.get_running_loop().run_in_executor(thread, self.tracks.trapctl, *command)

    async def to_start_unit(self) -> None:
        started = asyncio.Event()

        def arrived() -> None:
            self.tracks.on = False
            started.set()

        NoUnits.started = staticmethod(arrived)
        await self.until(lambda: self.daemon.controller.state("default").wanted == 1)
        await asyncio.sleep(1.0)
        self.tracks.on = True
        write(self.home, 2)
        async with asyncio.timeout(PATIENCE):
            await started.wait()

    async def recycle(self) -> None:
        await self.until(lambda: self.rests(1))
        self.tracks.on = True
        await self.trapctl("recycle", "--wait")

    async def to_table(self) -> None:
        await self.until(lambda: self.rests(1))
        real = notify.parse

        def parse(data: bytes) -> dict[str, str]:
            self.tracks.on = self.tracks.on or b"READY=1" in data
            return real(data)

        notify.parse = parse
        await self.daemon.triggers.recycle(["default"], actor="a reader", reason="walk")
        await self.until(lambda: self.tracks.on)
        await self.trapctl("status")
        notify.parse = real


@contextlib.contextmanager
def at_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="walk-", ignore_cleanup_errors=True) as name:
        yield Path(name)


async def walk(path: str, home: Path, tracks: Tracks) -> None:
    walker = Walk(home, tracks, "systemd" if path == "a" else "embedded")
    running = asyncio.create_task(walker.daemon.run())
    try:
        await {"a": walker.to_start_unit, "b": walker.recycle, "c": walker.to_table}[path]()
    finally:
        tracks.on = False
        os.kill(os.getpid(), signal.SIGTERM)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(running, PATIENCE)


def main(paths: list[str]) -> None:
    bus.MessageBus = NoUnits  # type: ignore[assignment,attr-defined]
    tracks = Tracks()
    for path in paths or ["a", "b", "c"]:
        tracks.daemon, tracks.client = set(), set()
        with at_home() as home:
            layout.BOOT, layout.WORKERS_RUNTIME = home / "boot", home / "run"
            asyncio.run(walk(path, home, tracks))
            notes = home / "worker"
            worker = notes.read_text().split() if path == "c" and notes.exists() else []
        sides = {"trapctl": tracks.client, "daemon": tracks.daemon, "worker": set(worker)}
        print(f"({path}) " + " + ".join(f"{len(files)} {side}" for side, files in sides.items() if files))
        for side, files in sides.items():
            for name in sorted(files):
                print(f"    {side}: {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
