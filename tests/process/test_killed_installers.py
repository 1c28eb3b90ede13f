"""A pip that is killed at any moment leaves nothing that a look takes for whole, and is not.

``make test-long`` repeats it.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.repetitions import times
from tests.support.site_packages import install, make_old, uninstall
from tests.support.wheels import write_wheel
from trapd.rollout.condition import Condition, condition
from trapd.watch.interpreter import Answer
from trapd.watch.quiet import Verdict
from trapd.watch.survey import Meant, Survey, Surveyor

MODULES = 62
PATIENCE = 60.0  # s

# The n-th change of a file system that this pip makes below a folder is its last act, or they are only counted.
_HOOK = """
import os, signal, sys

count, site = 0, os.environ["TRAPD_TEST_SITE"]
last = int(os.environ["TRAPD_TEST_LAST"])

def note(event, arguments):
    global count
    if event == "open":
        changes = isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
    else:
        changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "os.chmod")
    if changes and str(arguments[0]).startswith(site):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(note)
if last < 0:
    import atexit
    atexit.register(lambda: print(count))
"""


def modules(name: str, version: str) -> dict[str, str]:
    text = f"VERSION = {version!r}\n" + "def f(x):\n    return [x, x + 1]\n\n\n" * 5
    return {f"{name}/__init__.py": text, **{f"{name}/m{number}.py": text for number in range(MODULES)}}


def requires(name: str, version: str) -> list[str]:
    return [f"depa=={version}"] if name == "held" else []


@dataclass
class Pair:
    """A virtual environment in which held, which is watched, requires depa in one version."""

    home: Path
    surveyor: Surveyor = field(init=False)
    condition: Condition | None = None

    def __post_init__(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(self.home / "venv")], check=True)
        [self.site] = (self.home / "venv/lib").glob("python3*/site-packages")
        self.celeryconfig, self.hook = self.home / "celeryconfig.py", self.home / "hook"
        self.hook.mkdir()
        (self.hook / "sitecustomize.py").write_text(_HOOK)
        self.celeryconfig.write_text("broker_url = 'memory://'\n")
        make_old(self.celeryconfig)
        for version in ("1.0", "2.0"):
            for name in ("held", "depa"):
                wheel = self.home / "wheels"
                write_wheel(wheel, name, version, modules(name, version), requires=requires(name, version))
        self.surveyor = Surveyor(self.home / "python", self.celeryconfig, ["held"])

    def reset(self, version: str) -> None:
        """Both whole, of one version, by the shortest way; and that is what is wanted."""
        for stash in self.site.glob("~*"):
            subprocess.run(["rm", "-r", str(stash)], check=True)
        for name in ("depa", "held"):
            for info in self.site.glob(f"{name}-*.dist-info"):
                if not (info / "RECORD").exists():
                    (info / "RECORD").touch()
            uninstall(self.site, name)
            subprocess.run(["rm", "-rf", *map(str, self.site.glob(f"{name}*"))], check=True)
            install(self.site, name, version, modules(name, version), requires=requires(name, version))
        found = self.look()
        if self.condition is not None:
            assert found.finding.verdict is Verdict.WHOLE, f"repaired, and {found.finding.reason}"
        self.surveyor.settled(found)
        self.condition = condition(found.disk)

    def pip(self, *arguments: str, last: int) -> int:
        """The number of its changes if ``last`` is negative; otherwise -SIGKILL, or 0 if it came to its end before."""
        command = [
            str(self.home / "venv/bin/python"),
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            *arguments,
        ]
        variables = {"PYTHONPATH": str(self.hook), "TRAPD_TEST_SITE": str(self.site), "TRAPD_TEST_LAST": str(last)}
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, timeout=PATIENCE, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        return int(done.stdout) if last < 0 else done.returncode

    def look(self) -> Survey:
        answer = Answer(
            paths=(str(self.site),),
            identity="python 3.11",
            prefix=str(self.home / "venv"),
            celeryconfig=hashlib.sha256(self.celeryconfig.read_bytes()).hexdigest(),
        )
        meant = Meant(condition=self.condition)
        return self.surveyor.look(answer, lambda places: False, wall=time.time(), fresh=True, meant=meant)

    def flaw(self) -> str:
        """Why a worker should not run on what is there; empty if both are whole and fit each other."""
        seen = {}
        for name in ("held", "depa"):
            files = [*(self.site / name).glob("*.py")]
            texts = {file.read_text() for file in files}
            infos = [path.name for path in self.site.glob(f"{name}-*.dist-info")]
            if len(files) != MODULES + 1 or len(texts) != 1 or len(infos) != 1:
                return f"{name}: {len(files)} modules, of {len(texts)} versions, {infos}"
            seen[name] = (texts.pop().partition("\n")[0], infos[0].removeprefix(f"{name}-"))
        return "" if seen["held"] == seen["depa"] else f"{seen}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"))


def both(wheels: str, version: str) -> list[str]:
    options = ["--no-index", "--find-links", wheels, "--force-reinstall"]
    return ["install", *options, f"held=={version}", f"depa=={version}"]


def depa_alone(wheels: str, version: str) -> list[str]:
    return ["install", "--no-index", "--find-links", wheels, "--force-reinstall", "--no-deps", f"depa=={version}"]


def away(wheels: str, version: str) -> list[str]:
    return ["uninstall", "--yes", "held", "depa"]


@pytest.mark.long
@pytest.mark.parametrize("run", [both, depa_alone, away])
def test_a_pip_that_is_killed_leaves_nothing_that_counts_as_whole(
    pair: Pair, run: Callable[[str, str], list[str]], record_property: Callable[[str, object], None]
) -> None:
    wheels, count = str(pair.home / "wheels"), times(2, 50)
    record_property("times", count)
    pair.reset("1.0")
    changes = pair.pip(*run(wheels, "2.0"), last=-1)
    for _ in range(count):
        seed = random.randrange(2**32)
        last = random.Random(seed).randint(1, changes)
        pair.reset("1.0")
        pair.pip(*run(wheels, "2.0"), last=last)
        for look in (1, 2):
            finding, flaw = pair.look().finding, pair.flaw()
            print(f"seed {seed}, killed at change {last} of {changes}, look {look}: {finding.reason or 'whole'}")
            assert finding.verdict is not Verdict.WHOLE or not flaw, f"seed {seed}, change {last}: {flaw}"
    pair.reset("1.0")
