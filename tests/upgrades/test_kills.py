"""Installers that are killed at any moment, again and again, and what the watch's looks say of what they leave."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import last_acts
from tests.support.daemon import stamp
from tests.support.dpkg_root import Root
from tests.support.repetitions import times
from tests.support.site_packages import install, make_old, uninstall
from tests.support.wheels import write_wheel
from tests.upgrades.rows import Outcome, Row, Wait, each
from trapd.rollout.condition import Condition, condition
from trapd.watch.interpreter import Answer
from trapd.watch.quiet import Verdict
from trapd.watch.survey import Meant, Survey, Surveyor

pytestmark = [pytest.mark.long, pytest.mark.timeout(times(600, 7200))]

MODULES = 62
MODULES_OF_PACKAGE = 300  # for dpkg, which is fast
UV = Path(sys.executable).with_name("uv")


def modules(name: str, version: str) -> dict[str, str]:
    text = f"VERSION = {version!r}\n" + "def f(x):\n    return [x, x + 1]\n\n\n" * 5
    return {f"{name}/__init__.py": text, **{f"{name}/m{number}.py": text for number in range(MODULES)}}


def requires(name: str, version: str) -> list[str]:
    return [f"depa=={version}"] if name == "held" else []


def flaw(site: Path, count: int) -> str:
    """Why a worker should not run on what is there; empty if both are whole and fit each other."""
    seen = {}
    for name in ("held", "depa"):
        files = [*(site / name).glob("*.py")]
        texts = {file.read_text().partition("\n")[0] for file in files}
        infos = [path.name for path in site.glob(f"{name}-*.dist-info")]
        if len(files) != count or len(texts) != 1 or len(infos) != 1:
            return f"{name}: {len(files)} modules, of {len(texts)} versions, {infos}"
        seen[name] = (texts.pop(), infos[0].removeprefix(f"{name}-"))
    return "" if seen["held"] == seen["depa"] else f"{seen}"


class Site(Protocol):
    """An installation of held, which is watched, and of depa, which that requires in one version."""

    random: random.Random

    def reset(self) -> None:
        """Version 1.0 of both, whole, and wanted."""
        ...

    def look(self) -> str:
        """Why what is there is not whole."""
        ...

    def flaw(self) -> str: ...


class Environment:
    """Both lie in a virtual environment."""

    def __init__(self, home: Path) -> None:
        self.home, self.random = home, random.Random()
        self.condition: Condition | None = None
        subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
        [self.site] = (home / "venv/lib").glob("python3*/site-packages")
        self.python, self.celeryconfig = home / "venv/bin/python", home / "celeryconfig.py"
        self.celeryconfig.write_text("broker_url = 'memory://'\n")
        make_old(self.celeryconfig)
        for name in ("held", "depa"):
            write_wheel(home / "wheels", name, "2.0", modules(name, "2.0"), requires=requires(name, "2.0"))
        self.surveyor = Surveyor(self.python, self.celeryconfig, ["held"])
        self._changes: dict[tuple[str, ...], int] = {}

    def reset(self) -> None:
        for stash in self.site.glob("~*"):
            subprocess.run(["rm", "-r", str(stash)], check=True)
        for name in ("depa", "held"):
            for info in self.site.glob(f"{name}-*.dist-info"):
                if not (info / "RECORD").exists():
                    (info / "RECORD").touch()
            uninstall(self.site, name)
            subprocess.run(["rm", "-rf", *map(str, self.site.glob(f"{name}*"))], check=True)
            install(self.site, name, "1.0", modules(name, "1.0"), requires=requires(name, "1.0"))
        found = self.survey()
        if self.condition is not None:
            assert found.finding.verdict is Verdict.WHOLE, f"repaired, and {found.finding.reason}"
        self.surveyor.settled(found)
        self.condition = condition(found.disk)

    def pip(self, *arguments: str) -> None:
        """Run pip, of which some change of the file system is its last act."""
        if arguments not in self._changes:
            self._changes[arguments] = last_acts.pip(self.python, arguments, below=self.site, last=last_acts.COUNT)
            self.reset()
        last = self.random.randint(1, self._changes[arguments])
        last_acts.pip(self.python, arguments, below=self.site, last=last)

    def uv(self, *arguments: str, mode: str = "copy") -> None:
        """Run uv, and kill it as soon as it has begun to change something, or a moment later."""
        options = ["--offline", "--quiet", "--python", str(self.python)]
        own = {"UV_CACHE_DIR": str(self.home / "uv"), "UV_LINK_MODE": mode}
        before = self._stamps()
        uv = subprocess.Popen([str(UV), *arguments, *options], stdin=subprocess.DEVNULL, env={**os.environ, **own})
        while uv.poll() is None and self._stamps() == before:
            time.sleep(0.0005)
        time.sleep(self.random.expovariate(1 / UV_LASTS))
        uv.kill()
        uv.wait()

    def _stamps(self) -> list[tuple[int, int]]:
        folders = (self.site, self.site / "held", self.site / "depa")
        return [stamp(folder) for folder in folders]

    def survey(self) -> Survey:
        answer = Answer(
            paths=(str(self.site),),
            identity="python 3.11",
            prefix=str(self.home / "venv"),
            celeryconfig=hashlib.sha256(self.celeryconfig.read_bytes()).hexdigest(),
        )
        meant = Meant(condition=self.condition)
        return self.surveyor.look(answer, lambda places: (), wall=time.time(), fresh=True, meant=meant)

    def look(self) -> str:
        finding = self.survey().finding
        return "" if finding.verdict is Verdict.WHOLE else finding.reason

    def flaw(self) -> str:
        return flaw(self.site, MODULES + 1)


UV_LASTS = 0.01  # s: how long uv takes to change both


class Packages:
    """Both lie in a virtual environment that a package of dpkg's brings."""

    def __init__(self, home: Path) -> None:
        self.home, self.random = home, random.Random()
        self.kept, self.root = Root(home), Root(home / "copy")
        self.new = self.kept.held("2.0", modules=MODULES_OF_PACKAGE)
        self.kept.run("--install", self.kept.held("1.0", modules=MODULES_OF_PACKAGE))
        self.reset()
        began = time.monotonic()
        self.root.run("--install", self.new)
        self.lasts = time.monotonic() - began

    def reset(self) -> None:
        shutil.rmtree(self.root.path)
        shutil.copytree(self.kept.path, self.root.path, symlinks=True)

    def dpkg(self, *arguments: str | Path) -> None:
        """Run dpkg, and kill it at some moment."""
        dpkg = self.root.dpkg(*arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            dpkg.wait(self.random.uniform(0, 1.1 * self.lasts))
        dpkg.kill()
        dpkg.communicate()

    def look(self) -> str:
        return self.root.reason()

    def flaw(self) -> str:
        return flaw(self.root.site, MODULES_OF_PACKAGE)


# -- what is killed --------------------------------------------------------------------------------------------------


def offline(site: Environment) -> list[str]:
    return ["--no-index", "--find-links", str(site.home / "wheels")]


def pip_install(site: Environment, version: str) -> None:
    site.pip("install", *offline(site), "--force-reinstall", f"held=={version}", f"depa=={version}")


def pip_install_the_library(site: Environment, version: str) -> None:
    site.pip("install", *offline(site), "--force-reinstall", "--no-deps", f"depa=={version}")


def pip_uninstall(site: Environment, version: str) -> None:
    site.pip("uninstall", "--yes", "held", "depa")


def pip_install_after_uninstall(site: Environment, version: str) -> None:
    """So that pip has nothing to put aside, and no stash tells of it."""
    uninstall(site.site, "held")
    site.pip("install", *offline(site), "--no-deps", f"held=={version}")


def uv_install(site: Environment, version: str) -> None:
    site.uv("pip", "install", *offline(site), f"held=={version}", f"depa=={version}")


def uv_install_by_links(site: Environment, version: str) -> None:
    site.uv("pip", "install", *offline(site), f"held=={version}", f"depa=={version}", mode="hardlink")


def uv_uninstall(site: Environment, version: str) -> None:
    site.uv("pip", "uninstall", "held", "depa")


def dpkg_install(site: Packages, version: str) -> None:
    site.dpkg("--install", site.new)


COUNTS = {  # how often: in `make test`, and in `make test-long`
    pip_install: (10, 250),
    pip_install_the_library: (4, 100),
    pip_uninstall: (4, 100),
    pip_install_after_uninstall: (4, 100),
    uv_install: (8, 150),
    uv_install_by_links: (4, 50),
    uv_uninstall: (4, 50),
    dpkg_install: (12, 200),
}


def row(way: str, act: Callable[..., None]) -> Row:
    short, long = COUNTS[act]
    return Row(f"{way}, {short} times (on demand {long})", act, Outcome.HELD, Wait.NOTHING, reason="")


IN_ENVIRONMENT = [
    row("`pip install` of the application and its library, killed at any moment", pip_install),
    row("`pip install` of the library alone, killed", pip_install_the_library),
    row("`pip uninstall` of both, killed", pip_uninstall),
    row("`pip install` after an uninstall, killed", pip_install_after_uninstall),
    row("`uv pip install`, copying, killed", uv_install),
    row("`uv pip install`, by hard links, killed", uv_install_by_links),
    row("`uv pip uninstall`, killed", uv_uninstall),
]
OF_DPKG = [row("`dpkg --install` of a package with an environment of its own, killed", dpkg_install)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return Packages(tmp_path_factory.mktemp("packages"))


def kill(site: Site, row: Row, note: Callable[[str, object], None]) -> None:
    """Again and again; no look calls that whole which is not."""
    count = times(*COUNTS[row.act])
    note("times", count)
    left: Counter[str] = Counter()
    for _ in range(count):
        seed = random.randrange(2**32)
        site.random.seed(seed)
        site.reset()
        row.act(site, "2.0")
        flaw = site.flaw()
        left["incomplete" if flaw else "whole"] += 1
        for look in (1, 2):
            reason = site.look()
            print(f"seed {seed}, look {look}: {reason or 'whole'}")
            assert reason or not flaw, f"seed {seed}, look {look}: {flaw}"
    site.reset()
    print(dict(left))


@each(IN_ENVIRONMENT)
def test_kills(environment: Environment, row: Row, record_property: Callable[[str, object], None]) -> None:
    kill(environment, row, record_property)


@each(OF_DPKG)
def test_kills_of_dpkg(packages: Packages, row: Row, record_property: Callable[[str, object], None]) -> None:
    kill(packages, row, record_property)
