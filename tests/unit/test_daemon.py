"""What a reload changes, and what trapd says of itself: the wiring, on real snapshots, without any worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.simulation.test_set_clock import YEARS
from tests.support.daemon import Table, toml
from tests.support.site_packages import make_old
from trapd.daemon import Daemon
from trapd.errors import HistoryError, TrapdError
from trapd.event import Event, EventKind
from trapd.generations import manifest
from trapd.model import Disk, DiskState, TreeFile
from trapd.settings import Settings, load
from trapd.system_clock import SystemClock, booted

OLD: Table = {"app": "trap.old:app", "python": "/old/bin/python"}


def settings(home: Path, app: Table, *pools: str) -> Settings:
    tables: Mapping[str, Table] = {
        "trapd": {"backend": "embedded", "state_directory": "state", "runtime_directory": "run"},
        "app": app,
        **{f"pools.{name}": {"workers": 1} for name in pools},
    }
    (home / "trapd.toml").write_text(toml(tables))
    return load(home / "trapd.toml")


def settled(home: Path) -> Disk:
    files = []
    for path in ("code/trap/__init__.py", "etc/celeryconfig.py"):
        (home / Path(path).name).write_text("x = 1\n")
        files.append(TreeFile(path, str(home / Path(path).name), hashlib.sha256(b"x = 1\n").hexdigest()))
    return Disk(DiskState.SETTLED, fingerprint="f1", versions={"trap": "1.3.0"}, files=tuple(files))


@contextlib.contextmanager
def making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> Iterator[Daemon]:
    (tmp_path / "state/generations").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        made = Daemon(replace(settings(tmp_path, OLD, "default"), backend=backend))
        with made._notifier.socket, contextlib.closing(made.history):
            yield made


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with making(tmp_path, monkeypatch, "embedded") as made:
        yield made


def test_the_celeryconfig_is_distrusted_at_a_look_as_it_is_when_the_settings_are_read(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.settings = settings(tmp_path, {**OLD, "celeryconfig": "celeryconfig.py"}, "default")
    (tmp_path / "celeryconfig.py").touch()
    (tmp_path / "celeryconfig.py").chmod(0o666)
    assert "everybody may write it" in asyncio.run(daemon._make_watch().look()).reason


@pytest.mark.parametrize("key", ["app", "smoke_test"])
def test_a_reload_with_another_app_starts_workers_of_that_app(daemon: Daemon, tmp_path: Path, key: str) -> None:
    fresh, disk = settings(tmp_path, {**OLD, key: "trap.new:it"}, "default"), settled(tmp_path)

    async def scenario() -> None:
        await daemon.triggers.disk_changed(disk)
        await daemon._use(fresh)
        await daemon.triggers.disk_changed(disk)  # the watch has looked again

    asyncio.run(scenario())
    wanted = daemon.controller.state("default").wanted
    assert getattr(manifest.read(tmp_path / f"state/generations/{wanted}"), key) == "trap.new:it"
    assert daemon.snapshots.present() == {1, 2}, "no generation of the old one in between"


@pytest.mark.parametrize(("key", "value"), [("python", "/new/bin/python"), ("celeryconfig", "new.py")])
def test_a_new_pool_waits_for_the_new_interpreters_look(daemon: Daemon, tmp_path: Path, key: str, value: str) -> None:
    fresh, disk = settings(tmp_path, {**OLD, key: value}, "default", "more"), settled(tmp_path)

    async def scenario() -> None:
        await daemon.triggers.disk_changed(disk)
        await daemon._use(fresh)

    asyncio.run(scenario())
    assert daemon.controller.state("more").wanted is None, "what the old interpreter has is not for the new one"
    assert (daemon.controller.disk.state, daemon.snapshots.present()) == (DiskState.CHANGING, {1})


def test_a_new_pool_starts_at_once_where_the_same_is_watched(daemon: Daemon, tmp_path: Path) -> None:
    fresh, disk = settings(tmp_path, OLD, "default", "more"), settled(tmp_path)

    async def scenario() -> None:
        await daemon.triggers.disk_changed(disk)
        await daemon._use(fresh)

    asyncio.run(scenario())
    assert daemon.controller.state("more").wanted == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('watchdog = "5s"\n', "trapd.watchdog: cannot change this while trapd runs; restart trapd"),
        ('[pools.default]\nenvironment = "amqp://trap:s3cret@h//"\n', 'cannot use "amqp://trap:***@h//" here'),
    ],
)
def test_a_reload_says_what_it_does_not_take_and_shows_no_password(
    daemon: Daemon, tmp_path: Path, line: str, words: str
) -> None:
    before = daemon.settings
    (tmp_path / "trapd.toml").write_text(
        f'[trapd]\nbackend = "embedded"\nstate_directory = "state"\nruntime_directory = "run"\n{line}'
    )
    assert asyncio.run(daemon._reload()) is False
    assert words in daemon.trouble
    assert "s3cret" not in daemon.trouble
    assert daemon.settings is before


def test_a_runtime_directory_that_cannot_be_used_is_named(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "run").rmdir()
    (tmp_path / "run").touch()
    with pytest.raises(TrapdError, match=r"cannot use \[trapd\] runtime_directory: .*run.*: not a directory"):
        asyncio.run(daemon.run())


def test_an_unforeseen_error_while_connecting_again_ends_trapd_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once ended only the task that keeps the connection, of which nobody heard: trapd went on, deaf."""

    class Bus:
        """Is lost at once; the next one cannot be connected."""

        made = 0

        def __init__(self, address: object, told: object) -> None: ...

        async def connect(self) -> None:
            Bus.made += 1
            if Bus.made > 1:
                raise ValueError("unforeseen")

        async def match(self, **rule: str) -> None: ...

        async def call(self, destination: str, path: str, interface: str, member: str, *_: object) -> list[object]:
            return [[]]

        async def lost(self) -> str:
            return "gone"

        async def close(self) -> None: ...

    monkeypatch.setattr("trapd.backend.systemd.pid1.Bus", Bus)
    monkeypatch.setattr("trapd.backend.systemd.pid1.PAUSES", (0.0,))
    monkeypatch.setattr("trapd.layout.BOOT", tmp_path / "boot")
    with making(tmp_path, monkeypatch, "systemd") as made, pytest.raises(ExceptionGroup) as ended:
        asyncio.run(made.run())
    assert [str(error) for error in ended.value.exceptions] == ["unforeseen"]


def test_what_is_installed_is_looked_at_with_the_variables_of_the_first_pool(daemon: Daemon, tmp_path: Path) -> None:
    """A celeryconfig that needs one of them could not be loaded, nor an application found that PYTHONPATH leads to."""
    (tmp_path / "lib/trap").mkdir(parents=True)
    (tmp_path / "lib/trap/__init__.py").touch()
    (tmp_path / "celery.py").write_text(
        "import os\nbroker_url = os.environ['BROKER'] + os.environ['TRAPD_STATE_DIRECTORY']\n"
    )
    make_old(tmp_path / "lib", tmp_path / "celery.py")
    (tmp_path / "default.env").write_text(f"PYTHONPATH={tmp_path / 'lib'}\n")
    tables: Mapping[str, Table] = {
        "trapd": {"backend": "embedded", "state_directory": "state", "runtime_directory": "run"},
        "app": {**OLD, "python": sys.executable, "celeryconfig": "celery.py"},
        "watch": {"distributions": ["trap"]},
        "pools.default": {"environment": {"BROKER": "filesystem://"}, "environment_file": "default.env"},
        "pools.more": {},
    }
    (tmp_path / "trapd.toml").write_text(toml(tables))
    fresh = load(tmp_path / "trapd.toml")

    async def scenario() -> Disk:
        await daemon._use(fresh)
        return await daemon.watch.look()

    disk = asyncio.run(scenario())
    assert (disk.state, disk.reason, disk.versions) == (DiskState.SETTLED, "", {"trap": "unknown"})


def test_systemd_hears_the_status_whatever_a_file_is_called(daemon: Daemon, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "systemd"))
        systemd.settimeout(1)
        daemon._notifier.socket.connect(str(tmp_path / "systemd"))
        daemon._notify("STATUS=cannot read trap/\u65e5\u672c\udcff\u00e9.py")
        assert systemd.recv(100) == b"STATUS=cannot read trap/????.py"


def test_a_history_that_cannot_be_written_is_said_until_it_can(daemon: Daemon) -> None:
    database = daemon.history._database
    database.execute("PRAGMA max_page_count = 1")  # no more than it has
    with pytest.raises(HistoryError, match="full"):
        daemon.controller.save([], [Event(0.0, EventKind.DRAINING, "x" * 1_000_000)])
    assert "cannot write the history" in "; ".join(daemon._troubles_on_disk())
    database.execute("PRAGMA max_page_count = 1000000")
    daemon.controller.save([], [Event(0.0, EventKind.DRAINING, "x" * 1_000_000)])
    assert "history" not in "; ".join(daemon._troubles_on_disk())


def test_when_pid_1_began_is_known_in_the_time_of_the_clock() -> None:
    """In a container that is no machine of its own: there CLOCK_MONOTONIC does not begin anew."""
    age = time.time() - psutil.Process(1).create_time()
    assert time.monotonic() - booted() == pytest.approx(age, abs=5.0)


@pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["forward", "back"])
def test_a_trapd_that_was_killed_is_told_as_that_whatever_became_of_the_clock(daemon: Daemon, jump: float) -> None:
    def told() -> list[EventKind]:
        before = daemon.history.events(limit=100)
        daemon._record(EventKind.TRAPD_STARTED, "it runs")
        daemon._record_absence()
        return [event.kind for event in daemon.history.events(limit=100)[len(before) + 1 :]]

    daemon._record_absence()  # which writes down in which start of the machine that was
    assert told() == [EventKind.TRAPD_LOST]
    daemon.clock, daemon._machine_began = set_clock(jump), daemon._machine_began + jump
    assert told() == [EventKind.TRAPD_LOST]
    daemon.history.save(notes={"boot": "another 1"})
    assert told() == [EventKind.REBOOTED]


def set_clock(jump: float) -> SystemClock:
    class Set(SystemClock):
        def wall(self) -> float:
            return super().wall() + jump

    return Set()
