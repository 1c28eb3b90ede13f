"""`trapctl rollout promote`"""

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
    """Let a rollout go on that waits for a person, or for a pin.

    `trapctl status` shows that it waits, and why. If runs hold the pool's code (trapctl pin), their pins end.
    """
    return change(session, methods.PROMOTE({"pool": pool}), lambda answer: f"pool {answer['pool']}: promoted, goes on")
