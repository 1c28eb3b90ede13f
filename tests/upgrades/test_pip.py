"""Code that pip brings."""

from __future__ import annotations

import os

import pytest

from tests.upgrades.layouts import Environment
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Outcome, Row, Wait, each
from tests.upgrades.stage import Shared, run

pytestmark = pytest.mark.together


def pip_install(stage: Environment, version: str) -> None:
    stage.pip("install", *stage.offline(version))


def pip_of_debian_11(stage: Environment, version: str) -> None:
    stage.pip("install", *stage.offline(version), version="pip==20.3.4")


def pip_newest(stage: Environment, version: str) -> None:
    stage.pip("install", *stage.offline(version), version="pip")


def pip_uninstall_and_install(stage: Environment, version: str) -> None:
    stage.pip("uninstall", "--yes", "shipyard")
    stage.pip("install", *stage.offline(version))


def pip_twice(stage: Environment, version: str) -> None:
    stage.pip("install", *stage.offline(f"{version}rc1"))
    stage.pip("install", *stage.offline(version))


def pip_same_again(stage: Environment, version: str) -> None:
    stage.pip("install", "--force-reinstall", *stage.offline(version))


def compileall(stage: Environment, version: str) -> None:
    for path in stage.site.glob("shipyard/*.py"):
        os.utime(path)
        path.chmod(0o600)
    run(str(stage.python), "-m", "compileall", "-q", "-f", str(stage.site / "shipyard"), cwd=stage.home)


ROWS = [
    Row("`pip install`, with the pip of Python's `venv`", pip_install, wait=Wait.FACTS),
    Row("`pip install`, pip 20.3.4, the oldest in use", pip_of_debian_11, wait=Wait.FACTS),
    Row("`pip install`, the newest pip", pip_newest, wait=Wait.FACTS, on_demand=True),
    Row("`pip uninstall`, then `pip install`", pip_uninstall_and_install),
    Row("`pip install` of one version, then at once of another", pip_twice),
    Row("`pip install --force-reinstall` of the same code", pip_same_again, Outcome.UNCHANGED, Wait.NOTHING),
    Row("`touch`, `chmod` and `python -m compileall`", compileall, Outcome.UNCHANGED, Wait.NOTHING),
]


@each(ROWS)
def test_pip(environment: Shared, row: Row) -> None:
    prove(environment, row)
