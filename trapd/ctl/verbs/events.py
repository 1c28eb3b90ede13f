"""`trapctl events`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Word, moment

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


UNSAID = frozenset({"trapd", "worker", "outside"})  # actors that the reason names, if they matter


@click.command()
@options.ONE_POOL
@options.LIMIT
@options.json
@click.pass_obj
def verb(session: Session, pool: str | None, limit: int) -> int:
    """What happened, oldest first: the tail of trapd's history."""
    session.answer(session.ask(methods.EVENTS({"pool": pool, "rollout": None, "limit": limit})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Events) -> None:
    """Print a line for each event."""
    for one in document["events"]:
        subject = one["instance"] or one["pool"] or "trapd"
        by = f" (by {one['actor']})" if one["actor"] not in UNSAID else ""
        screen.line(f"{moment(one['at'])}  {subject}  ", Word(one["kind"]), f"  {one['reason']}{by}")
