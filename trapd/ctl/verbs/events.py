"""`trapctl events`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Word, moment
from trapd.event import OWN_ACTORS

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.ONE_POOL
@options.LIMIT
@options.json
@click.pass_obj
def verb(session: Session, pool: str | None, limit: int) -> int:
    """Show the latest events of trapd's history, oldest first."""
    session.answer(session.ask(methods.EVENTS({"pool": pool, "rollout": None, "limit": limit})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Events) -> None:
    """Print a line for each event."""
    for event in document["events"]:
        subject = event["instance"] or event["pool"] or "trapd"
        by = f" (by {event['actor']})" if event["actor"] not in OWN_ACTORS else ""
        screen.line(f"{moment(event['at'])}  {subject}  ", Word(event["kind"]), f"  {event['reason']}{by}")
