"""`trapctl rollout status`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import await_rollouts, verdict
from trapd.ctl.session import Session

if TYPE_CHECKING:
    from trapd.control import documents


@click.command()
@options.POOLS
@options.waiting
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], wait: bool, timeout: float | None) -> int:
    """How far the latest rollout is; waits for its end, as kubectl does."""
    found = session.ask(methods.ROLLOUT_STATUS({"pools": list(pools)}))
    rollouts: list[documents.Rollout] = [one["rollout"] for one in found["pools"] if one["rollout"] is not None]
    if wait and rollouts:
        return await_rollouts(session, [rollout["id"] for rollout in rollouts], timeout)
    if session.as_json:
        session.print_json(found)
    else:
        with session.progress() as show:
            for one in found["pools"]:
                show.note(one["message"])
    return verdict(rollouts)
