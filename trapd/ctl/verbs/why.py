"""`trapctl why`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import complete, options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Word, last_lines, moment

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@click.argument("subject", nargs=-1, required=True, metavar="SUBJECT", shell_complete=complete.subjects)
@options.json
@click.pass_obj
def verb(session: Session, subject: tuple[str, ...]) -> int:
    """Show each step from the trigger to the present state.

    SUBJECT is a pool, a rollout's number, a worker such as default@7-1, or a generation as in: why generation 3.
    """
    session.answer(session.ask(methods.WHY({"subject": " ".join(subject)})), show)
    return Exit.OK


_WHOLE = 1000  # lines: a message may list fifty things that are wrong, and the first of them matters most


def show(screen: Screen, document: documents.Why) -> None:
    """Print a line for each step, and the traceback where there is one."""
    for step in document["chain"]:
        screen.line(f"{moment(step['at']):19}  ", Word(step["what"]), f"  {step['text']}")
    screen.lines(last_lines(document["detail"], lines=_WHOLE), indent=4)
