"""Code that comes with tools which take long to install: `make test-long` runs these rows."""

from __future__ import annotations

import pytest

from tests.upgrades.conda import Conda
from tests.upgrades.layouts import Pipx, Poetry
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared

pytestmark = pytest.mark.together


def pipx_install_force(stage: Pipx, version: str) -> None:
    stage.pipx("install", "--force", version)


def poetry_install(stage: Poetry, version: str) -> None:
    stage.commit(version)
    stage.git("pull", "--quiet", "--ff-only")
    stage.poetry("install")


def conda_install(stage: Conda, version: str) -> None:
    stage.conda(version)


PIPX = [Row("`pipx install --force`", pipx_install_force, wait=Wait.FACTS, on_demand=True)]
POETRY = [Row("`git pull`, then `poetry install`", poetry_install, wait=Wait.QUIET, on_demand=True)]
CONDA = [
    Row(
        "a conda package, installed by py-rattler, the Python binding of the library that pixi uses",
        conda_install,
        wait=Wait.QUIET,
        on_demand=True,
    )
]


@each(PIPX)
def test_pipx(pipx: Shared, row: Row) -> None:
    prove(pipx, row)


@each(POETRY)
def test_poetry(poetry: Shared, row: Row) -> None:
    prove(poetry, row)


@each(CONDA)
def test_conda(conda: Shared, row: Row) -> None:
    prove(conda, row)
