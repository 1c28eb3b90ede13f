"""`trapctl tasks drop`"""

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
    """Drop a poisoned task for good, within a minute."""
    session.answer(session.ask(methods.DROP_TASK({"task": id}), patience=CHANGING), show)
    return Exit.OK
