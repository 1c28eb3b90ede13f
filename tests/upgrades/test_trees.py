"""Code that is put into a project's folder, or into the work tree of an editable install."""

from __future__ import annotations

import pytest

from tests.upgrades.layouts import Folder
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared, run

pytestmark = pytest.mark.together


def git_pull(stage: Folder, version: str) -> None:
    stage.commit(version)
    stage.git("pull", "--quiet", "--ff-only")


def git_checkout(stage: Folder, version: str) -> None:
    stage.commit(version)
    stage.git("fetch", "--quiet", "--tags")
    stage.git("checkout", "--quiet", f"v{version}")


def rsync(stage: Folder, version: str) -> None:
    run("rsync", "--archive", f"{stage.written(version)}/", f"{stage.project}/", cwd=stage.home)


def rsync_in_place(stage: Folder, version: str) -> None:
    run("rsync", "--archive", "--inplace", f"{stage.written(version)}/", f"{stage.project}/", cwd=stage.home)


def cp_r(stage: Folder, version: str) -> None:
    run("cp", "-r", f"{stage.written(version)}/.", str(stage.project), cwd=stage.home)


def tar_x(stage: Folder, version: str) -> None:
    run("tar", "-cf", "release.tar", "-C", str(stage.written(version)), ".", cwd=stage.home)
    run("tar", "-xf", "release.tar", "-C", str(stage.project), cwd=stage.home)


def folder_swapped_by_mv(stage: Folder, version: str) -> None:
    fresh = stage.written(version)
    stage.project.rename(stage.home / f"project.{stage.version}")
    fresh.rename(stage.project)


COMMIT, CONTENT = "shipyard unknown, commit {before} -> {after}", "shipyard unknown, other content"
ROWS = [
    Row("`git pull` in a work tree", git_pull, wait=Wait.QUIET, reason=COMMIT),
    Row("`git checkout TAG` in a work tree", git_checkout, wait=Wait.QUIET, reason=COMMIT),
    Row("`rsync -a`, which renames each file into its place", rsync, wait=Wait.QUIET, reason=CONTENT),
    Row("`rsync -a --inplace`", rsync_in_place, wait=Wait.QUIET, reason=CONTENT),
    Row("`cp -r` over the project", cp_r, wait=Wait.QUIET, reason=CONTENT),
    Row("`tar x` over the project", tar_x, wait=Wait.QUIET, reason=CONTENT, on_demand=True),
    Row("the project's folder swapped by `mv`", folder_swapped_by_mv, wait=Wait.QUIET, reason=COMMIT),
]


@each(ROWS)
def test_folder(folder: Shared, row: Row) -> None:
    prove(folder, row)
