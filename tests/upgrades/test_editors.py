"""Code that a person writes with an editor into an editable install."""

from __future__ import annotations

import pytest

from tests.upgrades.layouts import Folder
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared, run

pytestmark = pytest.mark.together


def vim(stage: Folder, version: str, *settings: str) -> None:
    """Change all files that have the version, and write them one after the other."""
    commands = [*(f"set {setting}" for setting in settings), f"argdo %s/{stage.version}/{version}/ge | update", "qall!"]
    words = [word for command in commands for word in ("-c", command)]
    files = sorted(str(path) for path in (stage.project / "shipyard").glob("*.py"))
    run("vim.tiny", "-u", "NONE", "-N", "-es", *words, *files, cwd=stage.home)


def vim_renames(stage: Folder, version: str) -> None:
    vim(stage, version, "backupcopy=no", "nobackup", "writebackup")


def vim_in_place(stage: Folder, version: str) -> None:
    vim(stage, version, "backupcopy=yes", "nobackup", "writebackup")


def vim_backup(stage: Folder, version: str) -> None:
    vim(stage, version, "backup", "backupext=.orig")


def sed_i(stage: Folder, version: str) -> None:
    files = sorted(str(path) for path in (stage.project / "shipyard").glob("*.py"))
    run("sed", "-i", f"s/{stage.version}/{version}/", *files, cwd=stage.home)


def git_pull(stage: Folder, version: str) -> None:
    stage.git("checkout", "--quiet", "--force", "main")
    stage.commit(version)
    stage.git("pull", "--quiet", "--ff-only")


CONTENT = "shipyard 1.0, other content"
ROWS = [
    Row(
        "an editor that writes in place (vim), in an editable install",
        vim_in_place,
        wait=Wait.QUIET,
        reason=CONTENT,
    ),
    Row(
        "an editor that renames the new file over the old one (vim)",
        vim_renames,
        wait=Wait.QUIET,
        reason=CONTENT,
    ),
    Row("an editor that leaves backup files (vim, `backup`)", vim_backup, wait=Wait.QUIET, reason=CONTENT),
    Row("`sed -i`", sed_i, wait=Wait.QUIET, reason=CONTENT, on_demand=True),
    Row(
        "`git pull` in the work tree of an editable install",
        git_pull,
        wait=Wait.QUIET,
        reason="shipyard 1.0, commit {before} -> {after}",
    ),
]


@each(ROWS)
def test_editable(editable: Shared, row: Row) -> None:
    prove(editable, row)
