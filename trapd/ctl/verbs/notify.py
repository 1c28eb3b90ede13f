"""`trapctl notify`"""

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
@options.json
@click.pass_obj
def verb(session: Session) -> int:
    """Test the notifications of [notify] in trapd.toml.

    trapd records an event `notify-test`, runs the command and starts the unit as for any other event, and this command
    reports whether both ended well.
    """
    session.answer(session.ask(methods.NOTIFY({}), patience=CHANGING), show)
    return Exit.OK


def show(screen: Screen, document: documents.NotifyTested) -> None:
    """Print who was told."""
    screen.line(f"notified {document['told']}")
