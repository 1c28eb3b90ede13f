"""`trapctl metrics`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.json
@click.pass_obj
def verb(session: Session) -> int:
    """Show metrics in the text format of OpenMetrics.

    `[metrics] textfile` in trapd.toml has trapd write them to a file for node_exporter, which Prometheus reads.
    """
    session.answer(session.ask(methods.METRICS({})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Metrics) -> None:
    """Print the text as it is, at any width."""
    sys.stdout.write(document["text"])
