"""`trapctl rollout pause`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import change
from trapd.ctl.session import Session

_DONE = "pool {pool}: paused; trapctl rollout resume {pool} lets it go on"


@click.command()
@options.POOL
@options.json
@click.pass_obj
def verb(session: Session, pool: str) -> int:
    """Hold a pool until it is resumed; its workers are kept running."""
    return change(session, methods.PAUSE({"pool": pool}), lambda answer: _DONE.format(**answer))
