"""`trapctl drain`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import change
from trapd.ctl.session import Session
from trapd.sizes import counted

_DONE = "{worker} finishes its tasks and exits; {workers} wanted until trapctl undrain {worker}"


@click.command()
@options.WORKER
@click.option("--reason", default="", metavar="TEXT", help="Record this reason in the history.")
@options.json
@click.pass_obj
def verb(session: Session, worker: str, reason: str) -> int:
    """Drain one worker, such as default@7-1: no other takes its place.

    The worker finishes its tasks and exits. Until it is undrained its pool has one worker fewer, also after an upgrade
    and a restart of trapd. `trapctl status` shows who drained it, and when.
    """
    question = methods.DRAIN({"worker": worker, "reason": reason})
    return change(
        session,
        question,
        lambda answer: _DONE.format(**answer, workers=counted(answer["wanted"], "worker is", "workers are")),
    )
