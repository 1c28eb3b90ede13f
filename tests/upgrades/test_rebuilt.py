"""A virtual environment that is made anew, with all that is in it."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.upgrades.layouts import Environment
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared, run

pytestmark = pytest.mark.together


def removed_and_made_anew(stage: Environment, version: str) -> None:
    shutil.rmtree(stage.venv)
    run(sys.executable, "-m", "venv", str(stage.venv), cwd=stage.home)
    stage.pip("install", *stage.all_offline(version))


def venv_clear(stage: Environment, version: str) -> None:
    run(sys.executable, "-m", "venv", "--clear", str(stage.venv), cwd=stage.home)
    stage.pip("install", *stage.all_offline(version))


def uv_venv_clear(stage: Environment, version: str) -> None:
    stage.uv("venv", "--clear", "--python", sys.executable, str(stage.venv))
    stage.uv("pip", "install", *stage.all_offline(version))


def swapped_by_a_rename(stage: Environment, version: str) -> None:
    fresh = stage.home / "venv.new"
    stage.uv("venv", "--python", sys.executable, str(fresh))
    stage.uv("pip", "install", "--python", str(fresh), *stage.all_offline(version))
    stage.venv.rename(stage.home / f"venv.{stage.version}")
    fresh.rename(stage.venv)


ROWS = [
    Row(
        "environment removed, then `python -m venv` and `pip install`",
        removed_and_made_anew,
    ),
    Row("`python -m venv --clear`, then `pip install`", venv_clear),
    Row("`uv venv --clear`, then `uv pip install`", uv_venv_clear),
    Row("environment built beside the old one, swapped by `mv`", swapped_by_a_rename, wait=Wait.QUIET),
]


@each(ROWS)
def test_rebuilt(environment: Shared, row: Row) -> None:
    prove(environment, row)
