"""The watch on a real virtual environment, under a real pip: what an upgrade, an accident and a no-op look like."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.builders import application
from tests.support.fake_controller import RealClock
from tests.support.site_packages import make_old
from tests.support.wheels import write_wheel
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation
from trapd.rollout.condition import condition
from trapd.settings.document import trust
from trapd.watch import Watch

QUIET, CEILING = 1.0, 60.0  # longer than anybody waits: what settles does so by the quiet
SHORT_CEILING = 5.0
PATIENCE = 30.0
MODULES = 200
PATIENT = 5  # times that it may still be busy with what came before, or with a busy machine


def package(version: str) -> dict[str, str]:
    """So many modules that pip needs a while; each knows its version."""
    text = f"VERSION = {version!r}\n" + "def f(x):\n    return [x, x + 1, {'x': x}]\n\n\n" * 20
    return {"demo/__init__.py": text, **{f"demo/m{number}.py": text for number in range(MODULES)}}


class Environment:
    """A virtual environment with pip."""

    def __init__(self, home: Path) -> None:
        self.home = home
        subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
        self.python = home / "venv/bin/python"
        [self.site] = (home / "venv/lib").glob("python3*/site-packages")

    def wheel(self, version: str) -> Path:
        return write_wheel(self.home / "wheels", "demo", version, package(version))

    def pip(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        options = ["--quiet", "--disable-pip-version-check", "--no-input"]
        command = [str(self.python), "-m", "pip", *options, *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **variables})

    def clear(self) -> None:
        """Away with what the test before left: a killed pip's remains may confuse the next pip."""
        for pattern in ("demo*", "~*", "__editable__*"):
            for path in self.site.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def install(self, *wheels: Path) -> float:
        """Returns when pip ended."""
        found = self.pip("install", "--no-index", "--no-deps", "--force-reinstall", *map(str, wheels)).wait()
        assert found == 0
        return time.monotonic()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


class Watched:
    """An application with version 1.0 of demo, and what the watch says of it, with the time it said so."""

    def __init__(
        self,
        environment: Environment,
        home: Path,
        python: Path | None = None,
        ceiling: float = CEILING,
        quiet_period: float = QUIET,
    ) -> None:
        self.environment, self.celeryconfig = environment, home / "celeryconfig.py"
        self.celeryconfig.write_text("broker_url = 'memory://'\n")
        make_old(self.celeryconfig)
        self.told: list[tuple[float, Disk]] = []
        self.installers: list[bool] = []  # whether one is at work, each time that this is told
        self.arrived = asyncio.Event()
        self.watch = Watch(
            python=python or environment.python,
            celeryconfig=self.celeryconfig,
            distributions=["demo"],
            quiet_period=quiet_period,
            ceiling=ceiling,
            clock=RealClock(),
            on_disk=self.on_disk,
            trust=trust,
            condition=lambda: condition(settled[-1]) if (settled := self.settled()) else None,
            on_installer=self.on_installer,
        )

    async def on_installer(self, at_work: bool) -> None:
        self.installers.append(at_work)

    async def on_disk(self, disk: Disk) -> None:
        self.told.append((time.monotonic(), disk))
        self.arrived.set()

    async def until(self, state: DiskState, *, after: float = 0) -> tuple[float, Disk]:
        """The first thing told after that time which is in this state."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for at, disk in self.told:
                    if disk.state is state and at > after:
                        return at, disk
                self.arrived.clear()
                await self.arrived.wait()

    async def nothing_more(self) -> None:
        """Two quiet periods in which nothing is told."""
        count = len(self.told)
        await asyncio.sleep(2 * QUIET)
        assert len(self.told) == count, self.told[count:]

    def settled(self) -> list[Disk]:
        return [disk for _, disk in self.told if disk.state is DiskState.SETTLED]

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Disk]:
        task = asyncio.create_task(self.watch.run())
        try:
            yield (await self.until(DiskState.SETTLED))[1]
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def watching(
    environment: Environment, home: Path, ceiling: float = CEILING
) -> AsyncIterator[tuple[Watched, Disk]]:
    """A watch on the environment with version 1.0 in it, and what is settled to begin with."""
    environment.clear()
    environment.install(environment.wheel("1.0"))
    watched = Watched(environment, home, ceiling=ceiling)
    async with watched.watching() as before:
        yield watched, before


async def snapshot(disk: Disk, home: Path) -> set[str]:
    """The versions in the modules of a snapshot of what settled: what is told can be copied, and is one version."""
    store = SnapshotStore(home / "generations")
    number = len(store.present()) + 1
    generation = Generation(number, disk.fingerprint, disk.versions, {}, "a test", "tests", 0.0)
    await store.make(generation, disk, [], application(python=sys.executable))
    [package] = (home / f"generations/{number}/env/lib").glob("python3*/site-packages/demo")
    modules = list(package.glob("*.py"))
    assert len(modules) == MODULES + 1
    return {path.read_text().partition("\n")[0] for path in modules}


async def test_what_pip_left_is_tentative_when_pip_has_ended(environment: Environment, tmp_path: Path) -> None:
    """The second pip begins where the first has ended: nothing is tentative between them."""
    packages = {version: environment.wheel(version) for version in ("1.0", "2.0", "3.0")}
    environment.clear()
    environment.install(packages["1.0"])
    watched = Watched(environment, tmp_path, quiet_period=15)
    async with watched.watching():

        def both() -> float:
            environment.install(packages["2.0"])
            return environment.install(packages["3.0"])

        ended = await asyncio.to_thread(both)
        at, disk = await watched.until(DiskState.TENTATIVE)
        print(f"tentative {at - ended:.3f} s after pip's exit")
        assert at < ended + 10, "long before the quiet period was over"
        assert disk.versions == {"demo": "3.0"}
        assert watched.installers[-1], "what copies can be prepared"
    assert not watched.installers[-1], "and is not needed any more"
    assert await snapshot(disk, tmp_path) == {"VERSION = '3.0'"}


_KILL = """
import os, signal, sys

def die(event, arguments):
    if event == "open" and arguments[1] == "w" and str(arguments[0]).endswith("/demo/m100.py"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
"""


async def killed_in_the_window(environment: Environment, wheel: Path) -> None:
    """An upgrade that ends when half of the new package is there, and all of the old one in pip's stash."""
    hook = environment.home / "hook"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(_KILL)
    pip = environment.pip("install", "--no-index", "--no-deps", "--force-reinstall", str(wheel), PYTHONPATH=str(hook))
    assert await asyncio.to_thread(pip.wait) == -signal.SIGKILL


async def test_a_pip_that_is_killed_breaks_the_installation_until_the_next_one(
    environment: Environment, tmp_path: Path
) -> None:
    two, three = environment.wheel("2.0"), environment.wheel("3.0")

    async with watching(environment, tmp_path, SHORT_CEILING) as (watched, _):
        before_it = time.monotonic()
        await killed_in_the_window(environment, two)
        at, broken = await watched.until(DiskState.BROKEN)
        assert at - before_it > SHORT_CEILING
        assert "pip is replacing demo, or was killed while it did: " in broken.reason
        assert f"{environment.site}/~emo" in broken.reason
        began = time.monotonic()
        await asyncio.to_thread(environment.install, three)
        _, after = await watched.until(DiskState.SETTLED, after=began)
        assert after.versions == {"demo": "3.0"}
        assert list(environment.site.glob("~*")), "pip leaves the remains of another pip where they are"
    assert await snapshot(watched.settled()[-1], tmp_path) == {"VERSION = '3.0'"}
    assert [disk.versions["demo"] for disk in watched.settled()] == ["1.0", "3.0"]


async def test_a_pip_that_is_killed_between_two_packages_breaks_what_does_not_fit_any_more(
    environment: Environment, tmp_path: Path
) -> None:
    """Each of the two is whole. It stays broken until the other comes, or somebody takes it as it is."""

    def wheels(version: str) -> tuple[Path, Path]:
        files, folder = f"VERSION = {version!r}\n", environment.home / "pair"
        depa = write_wheel(folder, "demodepa", version, {"demodepa/__init__.py": files})
        requires = [f"demodepa=={version}"]
        return write_wheel(folder, "demo", version, {"demo/__init__.py": files}, requires=requires), depa

    old, new, newer = wheels("1.0"), wheels("2.0"), wheels("3.0")
    environment.clear()
    environment.install(*old)
    watched = Watched(environment, tmp_path)
    async with watched.watching() as before:
        assert before.satisfied is not None
        assert "demo requires demodepa" in before.satisfied
        began = time.monotonic()
        await asyncio.to_thread(environment.install, new[1])
        at, broken = await watched.until(DiskState.BROKEN, after=began)
        assert broken.reason.startswith("demo requires demodepa==1.0, but 2.0 is installed; ")
        assert (await watched.watch.look()).reason == broken.reason
        await asyncio.to_thread(environment.install, new[0])
        at, after = await watched.until(DiskState.SETTLED, after=at)
        assert after.versions == {"demo": "2.0"}
        await asyncio.to_thread(environment.install, newer[1])
        await watched.until(DiskState.BROKEN, after=at)
        assert await watched.watch.take_as_it_is() == "demo requires demodepa==2.0, but 3.0 is installed"
        assert watched.watch.disk.state is DiskState.SETTLED, "at once: trapctl retry begins a rollout"
        await watched.nothing_more()


async def test_an_edited_celeryconfig_is_one_change(environment: Environment, tmp_path: Path) -> None:
    async with watching(environment, tmp_path) as (watched, before):
        text = "broker_url = 'memory://'\nCELERY_ALWAYS_EAGER = True\n"
        began = time.monotonic()
        await asyncio.to_thread(watched.celeryconfig.write_text, text)
        _, after = await watched.until(DiskState.SETTLED, after=began)
        assert (before.eager, after.eager) == (False, True)
        await watched.nothing_more()
        await asyncio.to_thread(
            watched.celeryconfig.write_text, "broker_url = 'memory://'\n\nbroker_heartbeat = 1 / 0\n"
        )
        _, broken = await watched.until(DiskState.BROKEN)
        assert broken.reason == f"cannot load {watched.celeryconfig}:3: ZeroDivisionError: division by zero"
    assert len(watched.settled()) == 2


def source_tree(home: Path) -> Path:
    """A project with a build backend of its own, so that ``pip install -e`` needs no build tool."""
    tree = home / "tree"
    (tree / "demo").mkdir(parents=True)
    (tree / "demo/__init__.py").write_text("VERSION = '1'\n")
    wheel = write_wheel(home / "wheels", "demo", "1", {"__editable__.demo-1.pth": f"{tree}\n"})
    (tree / "backend.py").write_text(
        "import shutil\n"
        "def build_editable(directory, config_settings=None, metadata_directory=None):\n"
        f"    return shutil.copy({str(wheel)!r}, directory).rpartition('/')[2]\n"
    )
    backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (tree / "pyproject.toml").write_text(backend + '[project]\nname = "demo"\nversion = "1"\n')
    make_old(tree)
    return tree


async def test_a_source_tree_that_is_moved_away_and_back_is_whole_again(
    environment: Environment, tmp_path: Path
) -> None:
    """The interpreter that is asked meanwhile leaves it out of its import path."""
    tree = source_tree(tmp_path)

    async with watching(environment, tmp_path) as (watched, _):
        began = time.monotonic()
        pip = environment.pip("install", "--no-index", "--no-deps", "-e", str(tree))
        assert await asyncio.to_thread(pip.wait) == 0
        _, editable = await watched.until(DiskState.SETTLED, after=began)
        await asyncio.to_thread(tree.rename, tmp_path / "aside")
        _, broken = await watched.until(DiskState.BROKEN)
        assert "none of its files can be found" in broken.reason
        back = time.monotonic()
        await asyncio.to_thread((tmp_path / "aside").rename, tree)
        _, again = await watched.until(DiskState.SETTLED, after=back)  # heard: no regular look comes so early
        assert again.fingerprint == editable.fingerprint
    assert environment.pip("uninstall", "-y", "demo").wait() == 0


async def test_site_packages_that_are_moved_away_and_back_are_whole_again(
    environment: Environment, tmp_path: Path
) -> None:
    """The interpreter that is asked meanwhile leaves them out of its import path; no regular look comes so early."""
    async with watching(environment, tmp_path) as (watched, before):
        began = time.monotonic()
        await asyncio.to_thread(environment.site.rename, tmp_path / "aside")
        await watched.until(DiskState.BROKEN, after=began)
        await watched.watch.look()
        back = time.monotonic()
        await asyncio.to_thread((tmp_path / "aside").rename, environment.site)
        at, again = await watched.until(DiskState.SETTLED, after=back)
        print(f"settled {at - back:.3f} s after they were back")
        assert again.fingerprint == before.fingerprint


async def test_a_watch_that_has_nothing_to_hear_does_nothing(environment: Environment, tmp_path: Path) -> None:
    def switches() -> int:
        tasks = Path("/proc/self/task").glob("*/status")
        lines = [line for task in tasks for line in task.read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    async with watching(environment, tmp_path):
        for _ in range(PATIENT):
            began, used = switches(), time.process_time()
            await asyncio.sleep(3)
            more, used = switches() - began, time.process_time() - used
            print(f"{more / 3:.2f} voluntary context switches a second, {used:.4f} s of CPU in 3 s")
            if more <= 3 and used < 0.01:  # one of them is this very measurement's
                return
        pytest.fail("it is never at rest")
