"""Which virtual environment a generation gets a copy of."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable
from trapd.watch.distributions import locate
from trapd.watch.environment import Describer
from trapd.watch.interpreter import Answer, Interpreter
from trapd.watch.sites import scan

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    return tmp_path / "venv"


def ask(python: Path) -> Answer:
    celeryconfig = python.parent.parent / "celeryconfig.py"
    celeryconfig.touch()
    answer = asyncio.run(Interpreter(python, celeryconfig).ask())
    assert not answer.problem
    return answer


def test_an_environment_is_told_by_its_interpreter_also_behind_a_link_to_a_release(venv: Path) -> None:
    (venv.parent / "current").symlink_to(venv)
    for python in (venv / "bin/python", venv.parent / "current/bin/python3"):
        found = Describer().describe(ask(python), python, [])
        assert found is not None
        assert (found.prefix, found.python) == (str(venv), python.name)
        assert found.sites == {SITE: str(venv / SITE)}


def system(prefix: Path, *shared: Path) -> Answer:
    """An interpreter of a system."""
    return Answer(
        executable=str(prefix / "bin/python3"),
        prefix=str(prefix),
        base_prefix=str(prefix),
        place=SITE,
        shared=tuple(map(str, shared)),
    )


def test_of_a_systems_packages_what_is_needed_is_named(tmp_path: Path) -> None:
    site, local = tmp_path / "lib/python3/dist-packages", tmp_path / "local/dist-packages"
    for name in ("trap", "dep", "free"):
        install(site, name, "1.0", {f"{name}/__init__.py": "", f"{name}.libs/lib.so": "", f"{name}_one.py": ""})
    install(local, "dep", "2.0", {"dep/__init__.py": ""})
    (site / "old-1.0.egg-info").mkdir()  # as dpkg leaves it: without a RECORD
    (site / "old.py").touch()
    sites = scan([str(local), str(site)])
    found = [one for name in ("trap", "old") if (one := locate(name, sites, {}))]
    answer = system(tmp_path, local, site)
    describer = Describer()
    for _ in range(2):
        environment = describer.describe(answer, tmp_path / "bin/python3", found, sites, ["trap", "dep", "old", "none"])
        assert environment is not None
        assert (environment.virtual, environment.site, environment.sites) == (False, SITE, {})
        assert environment.parts == {
            f"{SITE}/{path.name}": str(path)
            for path in [
                *(site / name for name in ("trap", "trap.libs", "trap_one.py", "trap-1.0.dist-info")),
                *(site / name for name in ("old.py", "old-1.0.egg-info")),
                *(local / name for name in ("dep", "dep-2.0.dist-info")),
            ]
        }


def test_an_environment_that_sees_the_systems_packages_has_its_own_first(venv: Path, tmp_path: Path) -> None:
    site = tmp_path / "dist-packages"
    install(site, "dep", "1.0", {"dep/__init__.py": "", "shared/dep.py": ""})
    install(venv / SITE, "own", "1.0", {"own.py": "", "shared/own.py": ""})
    answer = replace(ask(venv / "bin/python"), shared=(str(site),))
    sites = scan([str(venv / SITE), str(site)])
    environment = Describer().describe(answer, venv / "bin/python", [], sites, ["dep", "own"])
    assert environment is not None
    assert environment.virtual
    assert environment.parts == {f"{SITE}/{name}": str(site / name) for name in ("dep", "dep-1.0.dist-info")}


def test_who_says_nothing_of_itself_has_no_environment(venv: Path) -> None:
    assert Describer().describe(Answer(), venv / "bin/python", []) is None


def test_a_script_that_sets_variables_and_becomes_the_interpreter_has_none_either(venv: Path) -> None:
    script = venv / "bin/with-variables"
    script.write_text(f'#!/bin/sh\nDATA=/data exec {venv}/bin/python "$@"\n')
    script.chmod(0o755)
    assert Describer().describe(ask(script), script, []) is None


def test_a_site_packages_elsewhere_keeps_its_place(venv: Path) -> None:
    (venv / SITE).rename(venv.parent / "shared")
    (venv / SITE).symlink_to(venv.parent / "shared")
    found = Describer().describe(ask(venv / "bin/python"), venv / "bin/python", [])
    assert found is not None
    assert found.sites == {SITE: str(venv.parent / "shared")}


def test_what_leads_to_the_sources_of_editable_installs_is_named(venv: Path, tmp_path: Path) -> None:
    site, source = venv / SITE, tmp_path / "src"
    (source / "trap").mkdir(parents=True)
    (source / "trap/__init__.py").touch()
    files = {"__editable__.trap-1.0.pth": f"{source}\n", "__editable___trap_finder.py": ""}
    install_editable(site, source, "trap", "1.0", top_level=["trap"], files=files)
    install(site, "other", "1.0", {"other.py": "", "other.pth": "import other\n"})
    sites = scan([str(site), str(source)])
    found = [one for name in ("trap", "other") if (one := locate(name, sites, {}))]
    environment = Describer().describe(ask(venv / "bin/python"), venv / "bin/python", found)
    assert environment is not None
    assert environment.hooks == {str(site / name) for name in files}
