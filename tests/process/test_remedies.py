"""pip accepts the remedy that the line of a broken installation names, and the installation is whole after it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.site_packages import install
from tests.support.wheels import write_wheel
from trapd.watch.distributions import locate
from trapd.watch.installers import Installers
from trapd.watch.sites import scan

INFO = "depa-1.0.dist-info"


class Environment:
    def __init__(self, home: Path) -> None:
        self.home, self.wheels = home, home / "wheels"
        subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
        [self.site] = (home / "venv/lib").glob("python3*/site-packages")
        self.files = {"depa/__init__.py": "", **{f"depa/m{number}.py": f"x = {number}\n" for number in range(4)}}
        for version in ("1.0", "1.1"):
            write_wheel(self.wheels, "depa", version, self.files)
        install(self.site, "held", "1.0", {"held/__init__.py": ""})

    def reset(self) -> None:
        for path in [*self.site.glob("depa*"), *self.site.glob("~*")]:
            shutil.rmtree(path)
        install(self.site, "depa", "1.0", self.files)

    def run(self, command: str) -> None:
        """Of pip, or what removes a folder. Raises AssertionError if it is refused."""
        words = shlex.split(command)
        if words[0] == "pip":
            words = [str(self.home / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check", *words[1:]]
            more = ["--no-index", "--find-links", str(self.wheels)] if "install" in words else ["--yes"]
            words += more
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.site)
        assert done.returncode == 0, done.stdout + done.stderr

    def reason(self) -> str:
        """Of held, which is watched, and depa, which is required."""
        sites = scan([str(self.site)])
        held = locate("held", sites, {})
        assert held is not None
        judged = Installers().judge([held], sites, {"held", "depa"}, prefix="")
        return judged.reason or next(iter(judged.altered.values()), "")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("remedies"))


def lose_a_module(site: Path) -> None:
    (site / "depa/m3.py").unlink()


def patch_a_module(site: Path) -> None:
    (site / "depa/m3.py").write_text("x = 4\n")


def lose_record(site: Path) -> None:
    (site / INFO / "RECORD").unlink()


def empty_record(site: Path) -> None:
    (site / INFO / "RECORD").write_text("")


def empty_metadata(site: Path) -> None:
    for file in (site / INFO).iterdir():
        file.unlink()


def have_two(site: Path) -> None:
    """Of which pip has not finished one."""
    shutil.copytree(site / INFO, site / "depa-1.1.dist-info")
    (site / "depa-1.1.dist-info/RECORD").unlink()


def have_two_whole(site: Path) -> None:
    shutil.copytree(site / INFO, site / "depa-1.1.dist-info")
    for name in ("METADATA", "RECORD"):
        file = site / "depa-1.1.dist-info" / name
        file.write_text(file.read_text().replace("1.0", "1.1"))


def leave_a_stash(site: Path) -> None:
    (site / INFO).rename(site / f"~epa-{INFO.removeprefix('depa-')}")
    lose_a_module(site)


def leave_a_stash_of_modules(site: Path) -> None:
    (site / "depa").rename(site / "~epa")


def leave_a_stash_without_record(site: Path) -> None:
    leave_a_stash_of_modules(site)
    lose_record(site)


@pytest.mark.parametrize(
    "breaking",
    [
        lose_a_module,
        patch_a_module,
        lose_record,
        empty_record,
        empty_metadata,
        have_two,
        have_two_whole,
        leave_a_stash,
        leave_a_stash_of_modules,
        leave_a_stash_without_record,
    ],
)
def test_pip_accepts_the_remedy_and_the_installation_is_whole(
    environment: Environment, breaking: Callable[[Path], None]
) -> None:
    environment.reset()
    assert environment.reason() == ""
    breaking(environment.site)
    reason = environment.reason()
    print(reason)
    assert "depa" in reason
    remedy = reason.partition("; ")[2]
    for folder in re.findall(r"remove (\S+) there", remedy):
        shutil.rmtree(environment.site / folder)
    [command] = re.findall(r"run (pip [^,]*?)(?: until none is left, then install it|,|$)", remedy)
    environment.run(command)
    if "until none is left" in remedy:
        while any(environment.site.glob("depa*.dist-info")):
            environment.run(command)
        environment.run("pip install --no-deps depa==1.0")
    if "and remove" in remedy:
        for stash in environment.site.glob("~*"):
            shutil.rmtree(stash)
    assert environment.reason() == ""
    assert (environment.site / "depa/m3.py").read_text() == "x = 3\n"
