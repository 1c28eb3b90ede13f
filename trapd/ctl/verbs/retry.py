"""`trapctl retry`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import roll
from trapd.ctl.session import Session


@click.command()
@options.POOLS
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], wait: bool, timeout: float | None) -> int:
    """Try installed code again that was rejected or that failed."""
    return roll(session, methods.RETRY({"pools": list(pools)}), wait=wait, timeout=timeout, then=pools)
