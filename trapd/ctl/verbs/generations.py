"""`trapctl generations`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.verbs import generations_diff
from trapd.ctl.words import Row, moment, short, versions
from trapd.sizes import amount

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.group(invoke_without_command=True)
@options.json
@click.pass_context
def verb(context: click.Context) -> int:
    """Show the generations that are kept, newest first."""
    session: Session = context.obj
    if context.invoked_subcommand is None:
        session.answer(session.ask(methods.GENERATIONS({})), show)
    return Exit.OK


verb.add_command(generations_diff.verb, "diff")


def show(screen: Screen, document: documents.Generations) -> None:
    """Print a row for each generation."""
    if not document["generations"]:
        return screen.line("no generation yet: the code on disk has not settled")
    columns = ("NUMBER", "VERSIONS", "DIGEST", "WORKERS", "STANDING", "MADE", "BY", "REASON")
    rows = [_row(generation) for generation in document["generations"]]
    return screen.table(columns, rows, lead=2, bare=("STANDING", "REASON"), prose=True)


def _row(generation: documents.Generation) -> Row:
    notes = _cost(generation)
    notes += [f"refused: {generation['refused']}"] if generation["refused"] is not None else []
    cells = [
        str(generation["number"]),
        versions(generation["versions"]),
        short(generation["digest"]),
        str(generation["workers"]),
        _standing(generation),
        moment(generation["at"]),
        generation["actor"],
        generation["reason"],
    ]
    return Row(cells, notes + ([f"cannot start: {generation['flaw']}"] if generation["flaw"] else []))


def _cost(generation: documents.Generation) -> list[str]:
    size, added, seconds = generation["size"], generation["added"], generation["seconds"]
    if size is None or added is None or seconds is None:  # made by trapd 0.1.0
        return []
    return [f"{amount(size)} of files, which added {amount(added)} to the disk and took {seconds:.1f} s"]


def _standing(generation: documents.Generation) -> str:
    parts = [f"wanted by {', '.join(generation['wanted_by'])}"] if generation["wanted_by"] else []
    parts += ["good"] if generation["good_for"] and not generation["flaw"] else []
    parts += ["cannot start"] if generation["flaw"] else []
    parts += ["refused"] if generation["refused"] is not None else []
    return ", ".join(parts) or "-"
