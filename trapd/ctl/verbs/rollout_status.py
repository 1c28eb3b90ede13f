"""`trapctl rollout status`"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import await_rollouts, verdict
from trapd.ctl.client import LOOKING
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session

if TYPE_CHECKING:
    from trapd.control import documents

_FOR_EVER = 365 * 86400.0  # s


@click.command()
@options.POOLS
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], wait: bool, timeout: float | None) -> int:
    """Show the latest rollout of each pool, and wait for its end.

    If something was just installed, wait first until trapd has looked at it, so that this command may follow pip at
    once. The exit status is 1 if a rollout does not end well, or if the installation is incomplete.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    patience = LOOKING + (_FOR_EVER if timeout is None else timeout)
    disk = session.ask(methods.DISK_WAIT({"timeout": timeout}), patience=patience)["disk"] if wait else None
    found = session.ask(methods.ROLLOUT_STATUS({"pools": list(pools)}))
    rollouts: list[documents.Rollout] = [one["rollout"] for one in found["pools"] if one["rollout"] is not None]
    if wait and rollouts:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        status = await_rollouts(session, [rollout["id"] for rollout in rollouts], left)
        return _broken(disk) or status
    if session.as_json:
        session.print_json(found)
    else:
        with session.progress() as show:
            for one in found["pools"]:
                show.note(one["message"])
    return _broken(disk) or verdict(rollouts)


def _broken(disk: documents.Disk | None) -> Exit | None:
    if disk is None or disk["state"] != "broken":
        return None
    print(f"trapctl: what is installed is broken and not rolled out: {disk['reason']}", file=sys.stderr)
    return Exit.FAILED
