"""`trapctl events`"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.control.protocol import MOST_LINES, SCHEMA
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Word, moment
from trapd.errors import UsageError
from trapd.event import OWN_ACTORS

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.ONE_POOL
@options.LIMIT
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they are recorded, until Ctrl-C.")
@click.option(
    "--since",
    type=click.IntRange(min=0),
    metavar="ID",
    help="Show all events after the event with this id, without a limit; 0 shows all.",
)
@click.option("--id", type=click.IntRange(min=1), metavar="ID", help="Show the event with this id alone.")
@options.json
@click.pass_obj
def verb(session: Session, pool: str | None, limit: int, follow: bool, since: int | None, id: int | None) -> int:
    """Show the latest events of trapd's history, oldest first.

    With --follow and --json each event is one line, a JSON document. The id of the last event that you have seen is the
    cursor for --since: over a restart of trapd no event is missed, and none is shown twice.
    """
    if id is not None:
        session.answer(_one(session, id), show)
        return Exit.OK
    found = _all(session, pool, since) if since is not None else _page(session, pool, None, limit)
    if since is not None and pool is None and found and found[0]["id"] > since + 1 > 1:
        session.complain(f"events {since + 1} to {found[0]['id'] - 1} are not kept any more", 0)
    if not follow:
        document: documents.Events = {"schema": SCHEMA, "events": found}
        session.answer(document, show)
        return Exit.OK
    from trapd.ctl.follow import Following

    _show_each(session, found)
    last = found[-1]["id"] if found else _last(session) if since is None else since
    Following(session.client, session.note).events(pool, last, lambda event: _show_each(session, [event]))
    return Exit.OK


def _page(session: Session, pool: str | None, since: int | None, limit: int) -> list[documents.Event]:
    return session.ask(methods.EVENTS({"pool": pool, "rollout": None, "since": since, "limit": limit}))["events"]


def _one(session: Session, id: int) -> documents.Events:
    found = [event for event in _page(session, None, id - 1, 1) if event["id"] == id]
    if not found:
        raise UsageError(f"cannot show event {id}: the history has none of that number (any more)")
    return {"schema": SCHEMA, "events": found}


def _all(session: Session, pool: str | None, since: int) -> list[documents.Event]:
    found: list[documents.Event] = []
    while page := _page(session, pool, found[-1]["id"] if found else since, MOST_LINES):
        found += page
    return found


def _last(session: Session) -> int:
    """Return the id of the last event, of whatever pool."""
    latest = _page(session, None, None, 1)
    return latest[-1]["id"] if latest else 0


def _show_each(session: Session, events: list[documents.Event]) -> None:
    if session.as_json:
        for event in events:
            print(json.dumps(event))
    else:
        show(session.screen, {"schema": SCHEMA, "events": events})
        session.screen.file.flush()
    sys.stdout.flush()


def show(screen: Screen, document: documents.Events) -> None:
    """Print a line for each event."""
    for event in document["events"]:
        subject = event["instance"] or event["pool"] or "trapd"
        by = f" (by {event['actor']})" if event["actor"] not in OWN_ACTORS else ""
        screen.line(f"{moment(event['at'])}  {subject}  ", Word(event["kind"]), f"  {event['reason']}{by}")
