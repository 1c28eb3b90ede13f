"""`trapctl rollout history`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Cell, Word, moment, since

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.ONE_POOL
@options.LIMIT
@options.json
@click.pass_obj
def verb(session: Session, pool: str | None, limit: int) -> int:
    """Past rollouts, newest first."""
    session.answer(session.ask(methods.HISTORY({"pool": pool, "limit": limit})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Rollouts) -> None:
    """Print a row for each rollout."""
    if not document["rollouts"]:
        return screen.line("nothing was ever rolled out")
    columns = ("ROLLOUT", "POOL", "FROM", "TO", "STATE", "BEGAN", "TOOK", "BY", "REASON")
    return screen.table(columns, [_row(one) for one in document["rollouts"]], spare=("BY", "BEGAN", "TOOK", "FROM"))


def _row(one: documents.Rollout) -> list[Cell]:
    previous = "-" if one["previous"] is None else str(one["previous"])
    took = "-" if one["ended"] is None else since(one["started"], one["ended"])
    return [
        str(one["id"]),
        one["pool"],
        previous,
        str(one["generation"]),
        Word(one["state"]),
        moment(one["started"]),
        took,
        one["actor"],
        one["reason"],
    ]
