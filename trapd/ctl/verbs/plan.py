"""`trapctl plan`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.POOLS
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str]) -> int:
    """Show what trapd would do now, without doing it."""
    document = session.ask(methods.PLAN({"pools": list(pools)}))
    session.answer(document, show)
    return Exit.FAILED if document["changes"] else Exit.OK


def show(screen: Screen, document: documents.Plan) -> None:
    """Print the actions of each pool, and what it waits for."""
    for pool in document["pools"]:
        if pool["actions"]:
            screen.line(f"pool {pool['name']}:")
            screen.lines((action["text"] for action in pool["actions"]), indent=2)
        elif pool["held"] is None:
            screen.line(f"pool {pool['name']}: nothing to do")
        if pool["held"] is not None:
            remedy = f"trapctl rollout resume {pool['name']} lets it go on"
            screen.line(f"pool {pool['name']}: rollout {pool['held']} is held, since the pool is paused; {remedy}")
        if tasks := pool.get("tasks"):  # a trapd from before the upgrade does not tell them
            screen.line(tasks, indent=2)
        if pool["waiting"]:
            screen.line(f"waiting for {pool['waiting']}", indent=2)
