"""`trapctl undrain`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import change
from trapd.ctl.session import Session
from trapd.sizes import counted

_DONE = "pool {pool}: {workers} wanted, one in the place of {worker}"


@click.command()
@options.WORKER
@options.json
@click.pass_obj
def verb(session: Session, worker: str) -> int:
    """Let a worker take the place of one that was drained.

    A drain that is still under way is not recalled: another worker starts.
    """
    return change(
        session,
        methods.UNDRAIN({"worker": worker}),
        lambda answer: _DONE.format(**answer, workers=counted(answer["wanted"], "worker")),
    )
