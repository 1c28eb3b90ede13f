"""`trapctl tasks end`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.client import CHANGING
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@click.argument("id", metavar="ID")
@click.option("--now", is_flag=True, help="Kill the process or the greenlet that runs the task.")
@options.json
@click.pass_obj
def verb(session: Session, id: str, now: bool) -> int:
    """End one task, in whichever worker it runs.

    The task gets Celery's SoftTimeLimitExceeded, which it may catch to clean up; a task that waits in a worker is
    revoked, unless it is on its way into a process, which is said. No worker runs the task again. A task in a thread
    (Celery's pools threads and solo) cannot be killed.
    """
    session.answer(session.ask(methods.END_TASK({"task": id, "now": now}), patience=CHANGING), show)
    return Exit.OK


def show(screen: Screen, document: documents.TaskEnded) -> None:
    """Print what was done."""
    screen.line(f"task {document['id']} in {document['worker']}: {document['done']}")
