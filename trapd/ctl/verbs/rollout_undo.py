"""`trapctl rollout undo`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import roll
from trapd.ctl.session import Session


@click.command()
@options.POOL
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pool: str, wait: bool, timeout: float | None) -> int:
    """Go back to the good code before.

    Code that is undone is not rolled out again by itself, whatever settings change. A second undo takes back the first.
    """
    return roll(session, methods.UNDO({"pool": pool}), wait=wait, timeout=timeout)
