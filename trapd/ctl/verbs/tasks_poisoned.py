"""`trapctl tasks poisoned`"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Row, since

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.json
@click.pass_obj
def verb(session: Session) -> int:
    """Show the tasks that are set aside because they kill their processes.

    A task that has killed its process or its worker as often as `poison_after` says does not run again when it is
    delivered: it waits in the parking queue. Each host counts for itself.
    """
    session.answer(session.ask(methods.POISONED({})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Poisoned, now: float | None = None) -> None:
    """Print a row for each task."""
    now = time.time() if now is None else now
    if not document["tasks"]:
        screen.line("no task is set aside for its kills")
        return
    columns = ("TASK", "ID", "POOL", "KILLS", "SET ASIDE FOR", "QUEUE")
    rows = [
        Row([t["task"], t["id"], t["pool"], str(t["kills"]), since(t["since"], now), t["queue"]], [])
        for t in document["tasks"]
    ]
    screen.table(columns, rows, lead=3)
