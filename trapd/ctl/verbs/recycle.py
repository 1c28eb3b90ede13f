"""`trapctl recycle`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import roll
from trapd.ctl.session import Session


@click.command()
@options.POOLS
@click.option("--reason", default="", metavar="TEXT", help="Record this reason in the history.")
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], reason: str, wait: bool, timeout: float | None) -> int:
    """Replace every worker by one with the same code, gracefully.

    Recycle the named pools, or all pools. The progress is shown, then the outcome; after a rejection, the traceback.
    """
    return roll(
        session, methods.RECYCLE({"pools": list(pools), "reason": reason}), wait=wait, timeout=timeout, then=pools
    )
