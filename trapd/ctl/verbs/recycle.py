"""`trapctl recycle`"""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from trapd.control import methods
from trapd.ctl import complete, options
from trapd.ctl.changes import change, roll
from trapd.ctl.client import CHANGING
from trapd.ctl.session import Session

_BEGUN = "{worker} is replaced by another worker with the same code; trapctl why {worker} shows how far that is"
_DONE = "{worker} was replaced by another worker with the same code"


@click.command()
@click.argument("pools", nargs=-1, metavar="[POOL]... | WORKER", shell_complete=complete.pools_or_worker)
@click.option("--reason", default="", metavar="TEXT", help="Record this reason in the history.")
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], reason: str, wait: bool, timeout: float | None) -> int:
    """Replace every worker by one with the same code, gracefully.

    Recycle the named pools, or all pools. Where the code of a pool is what is installed, its new workers also have what
    was installed beside it since, and recycled nobody (event no-effect). The progress is shown, then the outcome; after
    a rejection, the traceback.

    Or recycle one worker, such as default@7-1: it is replaced, new before old. The wait is over when the old worker
    has ended its tasks and is gone; `trapctl why default@7-1` shows how far that is.
    """
    if workers := [name for name in pools if "@" in name]:
        if len(pools) > 1:
            raise click.UsageError("name pools, or one worker")
        question = methods.RECYCLE_WORKER({"worker": workers[0], "reason": reason, "wait": wait, "timeout": timeout})
        words, patience = (_DONE, math.inf) if wait else (_BEGUN, CHANGING)  # trapd itself keeps to the timeout
        return change(session, question, lambda answer: words.format(**answer), patience=patience)
    return roll(
        session, methods.RECYCLE({"pools": list(pools), "reason": reason}), wait=wait, timeout=timeout, then=pools
    )
