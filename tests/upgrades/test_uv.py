"""Code that uv brings, in each of its ways of putting a file in its place."""

from __future__ import annotations

import pytest

from tests.upgrades.layouts import Environment
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared

pytestmark = pytest.mark.together


def uv_copy(stage: Environment, version: str) -> None:
    stage.uv("pip", "install", "--link-mode=copy", *stage.offline(version))


def uv_hardlink(stage: Environment, version: str) -> None:
    stage.uv("pip", "install", "--link-mode=hardlink", *stage.offline(version))


def uv_symlink(stage: Environment, version: str) -> None:
    stage.uv("pip", "install", "--link-mode=symlink", *stage.offline(version))


def uv_clone(stage: Environment, version: str) -> None:
    stage.uv("pip", "install", "--link-mode=clone", *stage.offline(version))


def uv_compiles(stage: Environment, version: str) -> None:
    stage.uv("pip", "install", "--compile-bytecode", *stage.offline(version))


ROWS = [
    Row("`uv pip install --link-mode=copy`", uv_copy, wait=Wait.FACTS),
    Row("`uv pip install --link-mode=hardlink`", uv_hardlink, wait=Wait.FACTS),
    Row("`uv pip install --link-mode=symlink`", uv_symlink, wait=Wait.FACTS),
    Row(
        "`uv pip install --link-mode=clone`, which copies where the file system cannot clone",
        uv_clone,
        wait=Wait.FACTS,
        on_demand=True,
    ),
    Row("`uv pip install --compile-bytecode`", uv_compiles),
]


@each(ROWS)
def test_uv(environment: Shared, row: Row) -> None:
    prove(environment, row)
