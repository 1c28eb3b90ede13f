"""Many files: what looks, generations and trapd's memory cost with 1,000 folders of 100 modules.

``python -m benchmarks.scale``: an application as pip installs it, or with ``--editable`` in a source tree; one worker.
``--python PYTHON`` takes a virtual environment that has the application of ``--app`` and ``--watch`` instead, for
example Trap's. Each upgrade changes one file: a real pip installs a wheel of the small distribution that has it, in
place; in a source tree the file is replaced. Looks are timed in a process of their own, memory is that of a real trapd:
its highest resident set (VmHWM) after the first digest and after ten upgrades, and that of its short-lived processes,
told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import environments, site_packages
from tests.support.brokers import on_files
from tests.support.daemon import Daemon, Status, pool
from tests.support.fake_controller import RealClock
from tests.support.sample import APP, CELERY, NAME, good
from tests.support.wheels import write_wheel
from trapd.model import Disk, DiskState
from trapd.watch import Watch
from trapd.watch.survey import Surveyor

FOLDERS, MODULES, UPGRADES = 1000, 100, 10
PARTS = "shipyard_parts"  # the distribution that has the modules
_MADE_BY_PIP = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
REGULAR = 15.0  # seconds after which the regular look comes, in the process that times looks
_PADDING = "".join(f"# line {number} of a module that is as long as a short one\n" for number in range(14))


# --- the application --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Application:
    """What is installed, and the one file that upgrades change."""

    python: Path
    app: str
    watched: tuple[str, ...]
    module: Path
    info: Path | None  # the metadata of the distribution that has the file; None in a source tree

    def prepare(self, number: int, directory: Path) -> Callable[[], float]:
        """Make another version; returns what installs it, and tells when that was over, in seconds since the epoch."""
        text = f"{self.module.read_text().partition('# upgrade')[0]}# upgrade {number} of {time.time()}\n"

        def upgrade() -> float:
            if self.info is None:
                replace(self.module, text)
            else:
                environments.pip(self.python, "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
            return time.time()

        wheel = wheel_of(self.info, {self.module: text.encode()}, directory / "wheels") if self.info else None
        return upgrade


def replace(file: Path, text: str) -> None:
    fresh = file.with_name("fresh.tmp")
    fresh.write_text(text)
    fresh.replace(file)


def wheel_of(info: Path, changed: Mapping[Path, bytes], directory: Path) -> Path:
    """A wheel of an installed distribution, with the content of some files changed."""
    site, record = info.parent, list[str]()
    directory.mkdir(exist_ok=True)
    wheel = directory / f"{info.stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, *_ in csv.reader((info / "RECORD").read_text().splitlines()):
            made_by_pip = path.startswith(f"{info.name}/") and Path(path).name in _MADE_BY_PIP
            if not (made_by_pip or path.startswith("..") or path.endswith(".pyc")):
                content = changed.get(site / path) or (site / path).read_bytes()
                archive.writestr(path, content)
                record.append(recorded(path, content))
        archive.writestr(f"{info.name}/RECORD", "\n".join([*record, f"{info.name}/RECORD,,"]) + "\n")
    return wheel


def recorded(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}"


def make(directory: Path, folders: int, modules: int, *, editable: bool) -> Application:
    python = environments.make(directory / "venv", CELERY)
    site = next((directory / "venv/lib").glob("python3*/site-packages"))
    home = directory / "source" if editable else site
    lines = []
    for path, text in texts(folders, modules):
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        lines.append(recorded(path, text.encode()))
    site_packages.make_old(home / PARTS)
    if editable:
        for path, text in good("1.0").items():
            (home / path).parent.mkdir(exist_ok=True)
            (home / path).write_text(text)
        site_packages.make_old(home / NAME)
        site_packages.install_editable(site, home, NAME, "1.0", top_level=[NAME, PARTS])
        return Application(python, APP, (NAME,), home / PARTS / "part0000/module0001.py", None)
    info = site / f"{PARTS}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PARTS}\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/METADATA,,", f"{info.name}/RECORD,,"]) + "\n")
    site_packages.make_old(info)
    environments.pip(python, "install", "--no-index", str(write_wheel(directory / "wheels", NAME, "1.0", good("1.0"))))
    return Application(python, APP, (NAME, PARTS), site / NAME / "hull.py", site / f"{NAME}-1.0.dist-info")


def texts(folders: int, modules: int) -> Iterator[tuple[str, str]]:
    """Of the distribution that has them all, and that stays as it is."""
    yield f"{PARTS}/__init__.py", ""  # else it would be a namespace, of which trapd watches each part by itself
    for folder in range(folders):
        for module in range(modules):
            name = f"module{module:04}" if module else "__init__"
            yield (
                f"{PARTS}/part{folder:04}/{name}.py",
                f'"""Module {module} of folder {folder}."""\n\n{_PADDING}VALUE = {module}\n',
            )


def existing(python: Path, app: str, watched: str, module: str) -> Application:
    site = next((python.parent.parent / "lib").glob("python3*/site-packages"))
    info = next(site.glob(f"{watched.replace('-', '_')}-*.dist-info"))
    return Application(python, app, (watched,), site / module, info)


# --- looks ------------------------------------------------------------------------------------------------------------


class Looks:
    """In a process of its own: seconds and CPU seconds of the first look, of one after a change, of a regular one."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float]] = []
        self.settled = asyncio.Event()
        inner = Surveyor.look

        def timed(surveyor: Surveyor, *args: Any, **more: Any) -> Any:
            began, cpu = time.monotonic(), time.thread_time()
            found = inner(surveyor, *args, **more)
            self.taken.append((time.monotonic() - began, time.thread_time() - cpu))
            return found

        Surveyor.look = timed  # type: ignore[method-assign,assignment]

    async def on_disk(self, disk: Disk) -> None:
        if disk.state is DiskState.SETTLED:
            self.settled.set()

    async def follow(self, watch: Watch, application: Application, directory: Path) -> dict[str, tuple[float, float]]:
        running, results = asyncio.create_task(watch.run()), {}
        await self.settled.wait()
        self.settled.clear()
        results["first look"] = self.taken[0]
        self.taken.clear()
        upgrade = application.prepare(0, directory)
        if not os.fork():  # whose memory is not counted
            upgrade()
            os._exit(0)
        await self.settled.wait()
        results["look after one file changed"] = max(self.taken)
        self.taken.clear()
        while not self.taken:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        results["regular look"] = self.taken[0]
        running.cancel()
        return results


def time_looks(application: Application, celeryconfig: Path, snapshot: str) -> None:
    looks, before = Looks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = Watch(
        python=application.python,
        celeryconfig=celeryconfig,
        distributions=application.watched,
        quiet_period=2,
        ceiling=120,
        clock=RealClock(),
        on_disk=looks.on_disk,
        trust=lambda *_: None,
        full_look=REGULAR,
        earlier=lambda: False,  # as in trapd itself, unless it has generations that one without tables has made
        snapshot=snapshot,
    )
    results = asyncio.run(looks.follow(watch, application, celeryconfig.parent))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results["memory, MB, before and at its highest"] = (before / 1024, after / 1024)
    for what, (wall, cpu) in results.items():
        print(f"{what:40} {wall:8.2f} {cpu:8.2f}", flush=True)
    os._exit(0)


# --- a real trapd -----------------------------------------------------------------------------------------------------


@dataclass
class Memory:
    """Highest resident sets of trapd, and of its processes that are no workers, in MB."""

    pid: int
    others: dict[str, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def own(self) -> float:
        return _highest(self.pid)

    def follow(self) -> None:
        while not self.stop.wait(0.01):
            try:
                children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
                children += [
                    c for t in Path(f"/proc/{self.pid}/task").iterdir() for c in (t / "children").read_text().split()
                ]
            except OSError:
                continue
            for child in set(children):
                try:
                    words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
                    what = next((Path(word).name for word in words if word.endswith(".py")), " ".join(words[:4]))
                    if "generations" not in words[0] and "worker" not in " ".join(words):
                        self.others[what] = max(self.others.get(what, 0.0), _highest(int(child)))
                except (OSError, StopIteration):
                    continue


def _highest(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024


def _cpu(pid: int) -> float:
    return sum(int((t / "schedstat").read_text().split()[0]) for t in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def run(application: Application, directory: Path, upgrades: int, snapshot: str) -> None:
    broker = on_files(directory / "broker")
    tables: dict[str, dict[str, object]] = {
        "app": {"app": application.app, "python": str(application.python)},
        "watch": {"distributions": list(application.watched), "snapshot": snapshot},
        "rollout": {"min_ready": "1s"},
        "pools.default": {"workers": 1, "concurrency": 1},
    }
    config = directory / "celeryconfig.py"
    with Daemon(directory, celeryconfig=broker.celeryconfig(), tables=tables) as daemon:
        began = time.monotonic()
        memory = Memory(daemon.process.pid if daemon.process else 0)
        follower = threading.Thread(target=memory.follow)
        follower.start()
        try:
            log = directory / "trapd.log"
            while "settled: " not in log.read_text():
                assert daemon.process is not None
                assert daemon.process.poll() is None, daemon.words()
                time.sleep(0.02)
            print(f"start of trapd to the first digest: {time.monotonic() - began:.2f} s; trapd: {memory.own():.1f} MB")
            daemon.wait_until("a worker", serves(1), timeout=600, every=1)
            print(
                f"start of trapd to a ready worker: {time.monotonic() - began:.2f} s; trapd: {memory.own():.1f} MB",
                flush=True,
            )
            for number in range(1, upgrades + 1):
                wait_until_at_rest(directory, number)
                upgrade = application.prepare(number, directory)
                cpu, over = _cpu(memory.pid), upgrade()
                daemon.wait_until("a new worker", serves(number + 1), timeout=600, every=1)
                started = first_start(daemon, over)
                cost = f"CPU {_cpu(memory.pid) - cpu:.2f} s; trapd: {memory.own():.1f} MB"
                print(f"upgrade {number}: exit to start {started - over:.2f} s; {cost}", flush=True)
            print("its other processes:", ", ".join(f"{what}: {most:.1f} MB" for what, most in memory.others.items()))
            print(daemon.ctl("generations").stdout)
        finally:
            memory.stop.set()
            follower.join()
    assert config.exists()


def wait_until_at_rest(directory: Path, generation: int) -> None:
    """Until everything is compiled, and what the next generation takes over is linked: upgrades are hours apart."""
    linked, limit = directory / f"state/generations/.ahead-{generation}/ahead.json", time.monotonic() + 300
    while not linked.exists() and time.monotonic() < limit:
        time.sleep(0.2)
    if not linked.exists():
        print("nothing is linked ahead", flush=True)


def serves(generation: int) -> Any:
    def true(status: Status) -> bool:
        found = pool(status)
        instances = found["instances"]
        return (
            len(instances) == 1
            and int(found["generation"]) >= generation
            and all(one["state"] == "ready" and one["code"] == "current" for one in instances)
        )

    return true


def first_start(daemon: Daemon, after: float) -> float:
    events = json.loads(daemon.ctl("events", "--json").stdout)["events"]
    return min(float(e["at"]) for e in events if e["kind"] == "started" and float(e["at"]) >= after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=int, default=FOLDERS)
    parser.add_argument("--modules", type=int, default=MODULES, help="in each folder")
    parser.add_argument("--upgrades", type=int, default=UPGRADES)
    parser.add_argument("--editable", action="store_true", help="in a source tree, not as pip installs")
    parser.add_argument("--snapshot", choices=("auto", "environment", "distributions"), default="auto")
    parser.add_argument("--python", type=Path, help="an interpreter whose environment has the application")
    parser.add_argument("--app", default=APP)
    parser.add_argument("--watch", default=NAME)
    parser.add_argument("--module", help="the file that upgrades change, below site-packages")
    parser.add_argument("--no-daemon", action="store_true", help="time looks only")
    parser.add_argument("--no-looks", action="store_true", help="measure a trapd only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir=os.environ.get("BENCHMARK_DIRECTORY", "/tmp")) as name:
        directory = Path(name)
        if options.python:
            application = existing(options.python.absolute(), options.app, options.watch, options.module)
        else:
            application = make(directory, options.folders, options.modules, editable=options.editable)
        subprocess.run(["sync"], check=True)
        if not options.no_looks:
            (directory / "celeryconfig.py").write_text("")
            sys.stdout.flush()
            if not os.fork():
                time_looks(application, directory / "celeryconfig.py", options.snapshot)
            os.wait()
        if not options.no_daemon:
            run(application, directory, options.upgrades, options.snapshot)


if __name__ == "__main__":
    main()
