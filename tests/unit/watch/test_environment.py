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
from trapd.watch.environment import describe
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
        found = describe(ask(python), python, [])
        assert found is not None
        assert (found.prefix, found.python) == (str(venv), python.name)
        assert found.sites == {SITE: str(venv / SITE)}


def test_a_systems_interpreter_has_no_environment_of_its_own(venv: Path) -> None:
    answer = ask(venv / "bin/python")
    assert describe(replace(answer, base_prefix=answer.prefix), venv / "bin/python", []) is None
    assert describe(Answer(), venv / "bin/python", []) is None


def test_a_script_that_sets_variables_and_becomes_the_interpreter_has_none_either(venv: Path) -> None:
    script = venv / "bin/with-variables"
    script.write_text(f'#!/bin/sh\nDATA=/data exec {venv}/bin/python "$@"\n')
    script.chmod(0o755)
    assert describe(ask(script), script, []) is None


def test_a_site_packages_elsewhere_keeps_its_place(venv: Path) -> None:
    (venv / SITE).rename(venv.parent / "shared")
    (venv / SITE).symlink_to(venv.parent / "shared")
    found = describe(ask(venv / "bin/python"), venv / "bin/python", [])
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
    environment = describe(ask(venv / "bin/python"), venv / "bin/python", found)
    assert environment is not None
    assert environment.hooks == {str(site / name) for name in files}
