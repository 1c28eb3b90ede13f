"""`trapctl rollout history`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Row, moment, since, transition

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
    columns = ("ROLLOUT", "WHEN", "POOL", "FROM -> TO", "BY", "RESULT")
    return screen.table(
        columns, [_row(one) for one in document["rollouts"]], lead=3, bare=("FROM -> TO", "RESULT"), prose=True
    )


def _row(one: documents.Rollout) -> Row:
    previous = "-" if one["previous"] is None else str(one["previous"])
    change = transition(one["previous_versions"], one["versions"])
    numbers = f"{previous} -> {one['generation']}"
    cells = [
        str(one["id"]),
        moment(one["started"]),
        one["pool"],
        f"{change} ({numbers})" if change else numbers,
        one["actor"],
        _result(one),
    ]
    return Row(cells)


def _result(one: documents.Rollout) -> str:
    """How it ended and how long that took; why, unless it went well."""
    if one["ended"] is None:
        return f"{one['state']}: {one['reason']}"
    took = since(one["started"], one["ended"])
    return f"complete in {took}" if one["state"] == "complete" else f"{one['state']} after {took}: {one['reason']}"
