"""A link that says which release serves, and mounts: the code was there before, in another folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.upgrades.layouts import Release, ReleasedFolder
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared, Stage, run

pytestmark = pytest.mark.together


def current_replaced(stage: Release | ReleasedFolder, version: str) -> None:
    run("ln", "-s", str(stage.release(version)), "current.tmp", cwd=stage.home)
    run("mv", "-T", "current.tmp", "current", cwd=stage.home)


def ln_sfn(stage: Release | ReleasedFolder, version: str) -> None:
    run("ln", "-sfn", str(stage.release(version)), "current", cwd=stage.home)


def bind_mount(stage: ReleasedFolder, version: str) -> None:
    mount(stage, stage.release(version), (stage.home / "current").resolve())


def bind_mount_site_packages(stage: Release, version: str) -> None:
    [new] = stage.release(version).glob("lib/python3*/site-packages")
    [old] = (stage.home / "current").resolve().glob("lib/python3*/site-packages")
    mount(stage, new, old)


def mount(stage: Stage, source: Path, place: Path) -> None:
    """Until the stage's end."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    run("mount", "--bind", str(source), str(place), cwd=stage.home)
    stage.mounts.append(place)


CONTENT = "shipyard unknown, other content"
FOLDERS = [
    Row(
        "`current -> releases/N`, replaced by `mv -T` (Capistrano)",
        current_replaced,
        wait=Wait.QUIET,
        reason=CONTENT,
    ),
    Row("`current -> releases/N`, replaced by `ln -sfn`", ln_sfn, wait=Wait.QUIET, reason=CONTENT, on_demand=True),
    Row("`mount --bind` over the project", bind_mount, wait=Wait.QUIET, reason=CONTENT),
]
ENVIRONMENTS = [
    Row("`current` leads to a virtual environment, replaced by `mv -T`", current_replaced),
    Row("`current` leads to a virtual environment, replaced by `ln -sfn`", ln_sfn),
    Row("`mount --bind` over the site-packages of a virtual environment", bind_mount_site_packages),
]


@each(FOLDERS)
def test_released_folder(released_folder: Shared, row: Row) -> None:
    prove(released_folder, row)


@each(ENVIRONMENTS)
def test_released_environment(release: Shared, row: Row) -> None:
    prove(release, row)
