"""`trapctl rollout status`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import kept_out, problems, refusals
from trapd.ctl.client import CHANGING
from trapd.ctl.exits import Exit
from trapd.ctl.follow import Waiting
from trapd.ctl.session import Session


@click.command()
@options.POOLS
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], wait: bool, timeout: float | None) -> Exit:
    """Wait until each pool serves what is installed.

    trapd looks at the disk first, so this command may follow pip at once; what was installed in the last moment
    counts. The exit status is 0 when every wanted worker runs what is installed; 1 when that was rejected, has failed
    or was undone, with the reason; 75 when --timeout is over. While the installation changes or is incomplete, and
    while a pool is paused, the command waits and reports for what. With --no-wait, the answer comes at once: 1 also
    when the installation is broken, or is held by a pause, since when, and what to do; a rollout that goes on is no
    failure.
    """
    with session.progress() as show:
        if wait:
            found = Waiting(session.client, show, timeout).installed(pools)
        else:
            question = methods.ROLLOUT_STATUS({"pools": list(pools), "wait": False, "timeout": timeout})
            found = session.ask(question, patience=CHANGING)
        told = set() if wait else {problem["pool"] for problem in problems(found)}  # below, with what to do
        for standing, pool in zip(found["installed"], found["pools"], strict=True):
            under_way = pool["rollout"] is not None and pool["rollout"]["ended"] is None
            if standing["state"] == "serves" or (standing["state"] == "awaited" and not told & {None, pool["pool"]}):
                show.note(pool["message"] if under_way else standing["message"])
    if session.as_json:
        session.print_json(found)
    return refusals(session, found) if wait else kept_out(session, found)
