"""Editable installs by the tools and build backends themselves: a generation has a copy of the source tree, and runs
without what is installed. They have to be downloaded, so only `make test-long` runs these."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.test_closed import Home, run
from tests.support import environments
from tests.support.looks import look
from tests.support.site_packages import make_old

pytestmark = pytest.mark.long

UV = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--editable", ".")
POETRY = (sys.executable, "-m", "poetry", "--no-interaction", "install")
SETUPTOOLS = "setuptools.build_meta"
DATA = '[tool.setuptools.package-data]\ntrap = ["*.csv"]\n'
ASK = """
import json, sys, trap, trap.late
from importlib.metadata import version
from importlib.resources import files
data = files("trap").joinpath("data.csv").read_text()
print(json.dumps([trap.__file__, trap.late.__file__, trap.VERSION, trap.late.VERSION, data, version("trap")]))
"""
CHILD = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"


@dataclass(frozen=True)
class Way:
    """``requirement``: the build backend's distribution. ``command``: installs the work tree that it runs in; empty:
    pip. ``left``: what it leaves in site-packages beside the metadata."""

    requirement: str
    backend: str
    left: str
    command: Sequence[str] = ()
    more: str = ""  # at the end of pyproject.toml


WAYS = {
    "pip, hatchling": Way("hatchling", "hatchling.build", "_editable_impl_trap.pth"),
    "pip, hatchling, exact": Way(
        "hatchling", "hatchling.build", "_editable_impl_trap.py", more="[tool.hatch.build]\ndev-mode-exact = true\n"
    ),
    "pip, setuptools, finder": Way(
        "setuptools>=77",
        SETUPTOOLS,
        "__editable___trap_1_0_finder.py",
        more='[tool.setuptools]\npackages = ["trap"]\npackage-dir = {trap = "src/trap"}\n',
    ),
    "uv, setuptools, strict": Way(
        "setuptools>=77",
        SETUPTOOLS,
        "__editable__.trap-1.0.pth",
        (*UV, "--config-setting", "editable_mode=strict"),
        DATA,
    ),
    "uv, hatchling": Way("hatchling", "hatchling.build", "_editable_impl_trap.pth", UV),
    "uv, uv_build": Way("uv_build", "uv_build", "trap.pth", UV),
    "poetry install": Way("poetry-core", "poetry.core.masonry.api", "trap.pth", POETRY),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_generation_has_a_copy_of_the_source_tree_and_runs_without_it(
    tmp_path: Path, request: pytest.FixtureRequest, way: Way
) -> None:
    home, project = Home(tmp_path), tmp_path / "project"
    package = project / "src/trap"
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{way.requirement}"]\nbuild-backend = "{way.backend}"\n'
        f'[project]\nname = "trap"\nversion = "1.0"\n{way.more}'
    )
    write(package, "OLD")
    assert request.config.cache is not None
    install(home, project, way, request.config.cache.mkdir("environments"))
    assert (home.site / way.left).is_file()
    make_old(project, home.site)

    old, before = home.make(1), look(home.python, home.celeryconfig, "environment", {})
    assert run(old, "-c", CHILD, "-c", ASK) == from_copy(old, package, "OLD")
    write(package, "NEW")
    make_old(project)
    assert run(old, "-c", CHILD, "-c", ASK) == from_copy(old, package, "OLD")
    assert look(home.python, home.celeryconfig, "environment", {}).fingerprint != before.fingerprint
    new = home.make(2)
    project.rename(tmp_path / "project.away")
    home.site.rename(tmp_path / "site.away")
    assert run(new, "-c", CHILD, "-c", ASK) == from_copy(new, package, "NEW")
    assert run(old, "-c", CHILD, "-c", ASK) == from_copy(old, package, "OLD")


def write(package: Path, version: str) -> None:
    (package / "__init__.py").write_text(f'"""Of the tests."""\n\nVERSION = "{version}"\n')
    (package / "late.py").write_text(f'VERSION = "{version}"\n')
    (package / "data.csv").write_text(version)


def from_copy(generation: Path, package: Path, version: str) -> list[str]:
    copy = f"{generation}/tree{package}"
    return [f"{copy}/__init__.py", f"{copy}/late.py", version, version, version, "1.0"]


def install(home: Home, project: Path, way: Way, kept: Path) -> None:
    """Raises AssertionError with the tool's words if it fails."""
    own = {"VIRTUAL_ENV": str(home.venv), "PATH": f"{home.venv}/bin:{os.environ['PATH']}"}
    if way.command == POETRY:
        own |= {"PYTHONPATH": str(environments.tool(kept, "poetry")), "POETRY_CACHE_DIR": str(home.folder / "poetry")}
    pip = (sys.executable, "-m", "pip", "--python", str(home.python), "install", "--quiet", "--editable", ".")
    done = subprocess.run(
        way.command or pip, cwd=project, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
