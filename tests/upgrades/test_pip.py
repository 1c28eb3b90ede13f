"""Code that pip brings."""

from __future__ import annotations

import os

import pytest

from tests.upgrades.proofs import prove
from tests.upgrades.rows import Outcome, Row, Wait, each
from tests.upgrades.stage import Environment, Shared

pytestmark = [pytest.mark.together]


def pip_install(stage: Environment, version: str) -> None:
    stage.run("pip", "install", *stage.from_wheels(version))


def pip_same_again(stage: Environment, version: str) -> None:
    stage.run("pip", "install", "--force-reinstall", *stage.from_wheels(version))


def pip_touch(stage: Environment, version: str) -> None:
    for path in stage.site.glob("shipyard/*.py"):
        os.utime(path)
        path.chmod(0o600)
    stage.run(str(stage.python), "-m", "compileall", "-q", "-f", str(stage.site / "shipyard"))


ROWS = [
    Row("`pip install`, in place", pip_install),
    Row("`pip install --force-reinstall` of the same code", pip_same_again, Outcome.UNCHANGED, Wait.NOTHING),
    Row("new times and modes, new `.pyc` files", pip_touch, Outcome.UNCHANGED, Wait.NOTHING),
]


@each(ROWS)
def test_pip(environment: Shared, row: Row) -> None:
    prove(environment, row)
