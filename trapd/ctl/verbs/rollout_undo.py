"""`trapctl rollout undo`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import roll
from trapd.ctl.session import Session


@click.command()
@options.POOL
@click.option(
    "--to",
    type=click.IntRange(min=1),
    metavar="GENERATION",
    help="Go back to this generation; trapctl generations lists them.",
)
@click.option("--settings", is_flag=True, help="Go back to the celeryconfig of that generation, too.")
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pool: str, to: int | None, settings: bool, wait: bool, timeout: float | None) -> int:
    """Go back to the good code before, or to an earlier generation.

    The celeryconfig in force stays in force, because the earlier one may have an old password; --settings takes it
    back, too. Code that is undone is not rolled out again by itself, whatever settings change. A second undo takes
    back the first. After a rejection there is nothing to undo: the good code before serves already. It waits for its
    own rollout alone: that what is installed does not run is what was asked for, and no failure here.
    """
    return roll(session, methods.UNDO({"pool": pool, "to": to, "settings": settings}), wait=wait, timeout=timeout)
