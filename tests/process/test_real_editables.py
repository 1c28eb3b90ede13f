"""Editable installs by the tools and build backends themselves: a generation has a copy of the source tree, and runs
without what is installed. They have to be downloaded, so only `make test-long` runs these."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.process.test_closed import Home, run
from tests.support import environments
from tests.support.looks import look
from tests.support.site_packages import make_old

pytestmark = pytest.mark.long

# Of .venv, by PATH: a tool that is called by its path there is at work on .venv, for tests that look at that meanwhile
UV = ("uv", "pip", "install", "--quiet", "--editable", ".")
POETRY = ("python", "-m", "poetry", "--no-interaction", "install")
SETUPTOOLS = "setuptools.build_meta"
DATA = '[tool.setuptools.package-data]\ntrap = ["*.csv"]\n'
SCIKIT, SCIKITS_FINDER = "scikit-build-core", "_editable_skbc_trap.py"
CORE = """
#include <Python.h>
static struct PyModuleDef core = {PyModuleDef_HEAD_INIT, "core", 0, -1, 0};
PyMODINIT_FUNC PyInit_core(void) { return PyModule_Create(&core); }
"""
MESON = """
project('trap', 'c', version: '1.0')
py = import('python').find_installation(pure: false)
py.install_sources('src/trap/__init__.py', 'src/trap/late.py', 'src/trap/data.csv', subdir: 'trap')
py.extension_module('core', 'core.c', install: true, subdir: 'trap')
"""
CMAKE = "cmake_minimum_required(VERSION 3.15)\nproject(trap VERSION 1.0 LANGUAGES NONE)\n"
CMAKE_CORE = """
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
Python_add_library(core MODULE core.c WITH_SOABI)
install(TARGETS core DESTINATION trap)
"""
CARGO = """
[package]
name = "trap"
version = "1.0.0"
[[bin]]
name = "trap"
path = "main.rs"
"""
ASK = """
import json, sys, trap, trap.late
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
core = find_spec("trap.core")
data = files("trap").joinpath("data.csv").read_text()
places = [trap.__file__, trap.late.__file__, core and core.origin]
print(json.dumps([*places, trap.VERSION, trap.late.VERSION, data, version("trap")]))
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
    files: Mapping[str, str] = field(default_factory=dict)  # of the build, in the work tree
    compiler: str = ""
    scattered: bool = False  # it has an extension that lies elsewhere: the copies are put together


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
    "pip, meson-python": Way(
        "meson-python",
        "mesonpy",
        "_trap_editable_loader.py",
        compiler="cc",
        files={"meson.build": MESON, "core.c": CORE},
        scattered=True,
    ),
    "pip, scikit-build-core": Way(SCIKIT, "scikit_build_core.build", SCIKITS_FINDER, files={"CMakeLists.txt": CMAKE}),
    "pip, scikit-build-core, extension": Way(
        SCIKIT,
        "scikit_build_core.build",
        SCIKITS_FINDER,
        files={"CMakeLists.txt": CMAKE.replace("NONE", "C") + CMAKE_CORE, "core.c": CORE},
        compiler="cc",
        scattered=True,
    ),
    "pip, maturin": Way(
        "maturin",
        "maturin",
        "trap.pth",
        more='[tool.maturin]\nbindings = "bin"\npython-source = "src"\n',
        files={"Cargo.toml": CARGO, "main.rs": "fn main() {}\n"},
        compiler="cargo",
    ),
    "poetry install": Way("poetry-core", "poetry.core.masonry.api", "trap.pth", POETRY),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_generation_has_a_copy_of_the_source_tree_and_runs_without_it(
    tmp_path: Path, request: pytest.FixtureRequest, way: Way
) -> None:
    if way.compiler and shutil.which(way.compiler) is None:
        pytest.skip(f"this backend compiles, and there is no {way.compiler}")
    home, project = Home(tmp_path), tmp_path / "project"
    package = project / "src/trap"
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{way.requirement}"]\nbuild-backend = "{way.backend}"\n'
        f'[project]\nname = "trap"\nversion = "1.0"\n{way.more}'
    )
    for name, text in way.files.items():
        (project / name).write_text(text)
    write(package, "OLD")
    assert request.config.cache is not None
    install(home, project, way, request.config.cache.mkdir("environments"))
    assert (home.site / way.left).is_file()
    make_old(project, home.site)

    old, before = home.make(1), look(home.python, home.celeryconfig, "environment", {})
    assert run(old, "-c", CHILD, "-c", ASK) == from_copy(way, old, package, "OLD")
    write(package, "NEW")
    make_old(project)
    assert run(old, "-c", CHILD, "-c", ASK) == from_copy(way, old, package, "OLD")
    assert look(home.python, home.celeryconfig, "environment", {}).fingerprint != before.fingerprint
    new = home.make(2)
    project.rename(tmp_path / "project.away")
    home.site.rename(tmp_path / "site.away")
    assert run(new, "-c", CHILD, "-c", ASK) == from_copy(way, new, package, "NEW")
    assert run(old, "-c", CHILD, "-c", ASK) == from_copy(way, old, package, "OLD")


def write(package: Path, version: str) -> None:
    (package / "__init__.py").write_text(f'"""Of the tests."""\n\nVERSION = "{version}"\n')
    (package / "late.py").write_text(f'VERSION = "{version}"\n')
    (package / "data.csv").write_text(version)


def from_copy(way: Way, generation: Path, package: Path, version: str) -> list[str | None]:
    copy = f"{generation}/code/trap" if way.scattered else f"{generation}/tree{package}"
    core = f"{copy}/core{sysconfig.get_config_var('EXT_SUFFIX')}" if way.scattered else None
    return [f"{copy}/__init__.py", f"{copy}/late.py", core, version, version, version, "1.0"]


def install(home: Home, project: Path, way: Way, kept: Path) -> None:
    """Raises AssertionError with the tool's words if it fails."""
    own = {"VIRTUAL_ENV": str(home.venv), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if way.command == POETRY:
        own |= {"PYTHONPATH": str(environments.tool(kept, "poetry")), "POETRY_CACHE_DIR": str(home.folder / "poetry")}
    pip = ("python", "-m", "pip", "--python", str(home.python), "install", "--quiet", "--editable", ".")
    done = subprocess.run(
        way.command or pip, cwd=project, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
