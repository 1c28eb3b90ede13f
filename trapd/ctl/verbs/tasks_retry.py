"""`trapctl tasks retry`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.client import CHANGING
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.verbs.tasks_end import show


@click.command()
@click.argument("id", metavar="ID")
@options.json
@click.pass_obj
def verb(session: Session, id: str) -> int:
    """Run a poisoned task again.

    The task goes back to its queue, within a minute, and its kills are forgotten.
    """
    session.answer(session.ask(methods.RETRY_TASK({"task": id}), patience=CHANGING), show)
    return Exit.OK
