"""`trapctl recycle`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trapd.control import methods
from trapd.ctl import complete, options
from trapd.ctl.changes import change, roll
from trapd.ctl.session import Session

_DONE = "{worker} is replaced by another worker with the same code; trapctl why {worker} shows how far that is"


@click.command()
@click.argument("pools", nargs=-1, metavar="[POOL]... | WORKER", shell_complete=complete.pools_or_worker)
@click.option("--reason", default="", metavar="TEXT", help="Record this reason in the history.")
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], reason: str, wait: bool, timeout: float | None) -> int:
    """Replace every worker by one with the same code, gracefully.

    Recycle the named pools, or all pools. The progress is shown, then the outcome; after a rejection, the traceback.

    Or recycle one worker, such as default@7-1: it is replaced, new before old. This does not wait for the end;
    `trapctl why default@7-1` shows how far it is.
    """
    if workers := [name for name in pools if "@" in name]:
        if len(pools) > 1:
            raise click.UsageError("name pools, or one worker")
        question = methods.RECYCLE_WORKER({"worker": workers[0], "reason": reason})
        return change(session, question, lambda answer: _DONE.format(**answer))
    return roll(
        session, methods.RECYCLE({"pools": list(pools), "reason": reason}), wait=wait, timeout=timeout, then=pools
    )
