"""`trapctl generations`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Row, moment, short, versions

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.json
@click.pass_obj
def verb(session: Session) -> int:
    """The generations that are kept, newest first."""
    session.answer(session.ask(methods.GENERATIONS({})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Generations) -> None:
    """Print a row for each generation."""
    if not document["generations"]:
        return screen.line("no generation yet: the code on disk has not settled")
    columns = ("NUMBER", "VERSIONS", "DIGEST", "WORKERS", "STANDING", "MADE", "BY", "REASON")
    rows = [_row(one) for one in document["generations"]]
    return screen.table(columns, rows, lead=2, bare=("STANDING", "REASON"), prose=True)


def _row(one: documents.Generation) -> Row:
    notes = [f"refused: {one['refused']}"] if one["refused"] is not None else []
    cells = [
        str(one["number"]),
        versions(one["versions"]),
        short(one["digest"]),
        str(one["workers"]),
        _standing(one),
        moment(one["at"]),
        one["actor"],
        one["reason"],
    ]
    return Row(cells, notes + ([f"cannot start: {one['flaw']}"] if one["flaw"] else []))


def _standing(one: documents.Generation) -> str:
    parts = [f"wanted by {', '.join(one['wanted_by'])}"] if one["wanted_by"] else []
    parts += ["good"] if one["good_for"] and not one["flaw"] else []
    parts += ["cannot start"] if one["flaw"] else []
    parts += ["refused"] if one["refused"] is not None else []
    return ", ".join(parts) or "-"
