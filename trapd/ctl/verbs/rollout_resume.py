"""`trapctl rollout resume`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import change
from trapd.ctl.session import Session


@click.command()
@options.POOL
@options.json
@click.pass_obj
def verb(session: Session, pool: str) -> int:
    """Resume a paused pool."""
    return change(session, methods.RESUME({"pool": pool}), lambda answer: f"pool {answer['pool']}: goes on")
