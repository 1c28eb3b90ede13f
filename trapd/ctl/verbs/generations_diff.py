"""`trapctl generations diff`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.sizes import counted

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@click.argument("before", metavar="G", type=click.IntRange(1))
@click.argument("after", metavar="H", type=click.IntRange(1))
@options.json
@click.pass_obj
def verb(session: Session, before: int, after: int) -> int:
    """Show what is different in generation H: distributions, tasks, files."""
    session.answer(session.ask(methods.GENERATIONS_DIFF({"before": before, "after": after})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Differences) -> None:
    """Print a line for each distribution, each task and each file."""
    for distribution in document["distributions"]:
        screen.line(distribution["text"])
    for task in document.get("tasks", []):  # a trapd from before the upgrade does not compare them
        signature = ": another signature" if task["change"] == "altered" else ""
        screen.line(f"{task['change']:7}  task {task['name']}{signature}")
    for file in document["files"]:
        screen.line(f"{file['change']:7}  {file['path']}")
    if document["more_files"]:
        screen.line(f"and {counted(document['more_files'], 'file')} more")
    if document["unknown"]:
        screen.line(f"cannot compare {document['unknown']}")
    elif not (document["distributions"] or document["files"] or document.get("tasks")):
        screen.line(f"generations {document['before']} and {document['after']} have the same content")
