"""`trapctl logs`"""

from __future__ import annotations

from typing import Any

import click

from trapd.ctl import complete
from trapd.ctl.session import Session


@click.command()
@click.argument("subject", required=False, metavar="[POOL|INSTANCE]", shell_complete=complete.pools_and_workers)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is still to come, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="The last N lines; 100, unless --since.")
@click.option("-p", "--priority", metavar="LEVEL", help='Only these and worse ones, as journalctl reads it: "err".')
@click.option("--since", metavar="TIME", help='Not older than this, as journalctl reads it: "10 min ago".')
@click.option("--until", metavar="TIME", help="Not newer than this.")
@click.option("--json", "as_json", is_flag=True, help="The journal's own JSON, one entry a line.")
@click.pass_obj
def verb(session: Session, /, subject: str | None, as_json: bool, **options: Any) -> None:
    """Show the lines of the workers, and those of trapd about them.

    The last 100, if nothing else is asked for. Where systemd runs the workers, journalctl shows them; under the
    embedded backend, tail, which knows neither times nor levels.
    """
    from trapd.ctl.logs import Wish, show

    show(session.settings, subject, Wish(as_json=as_json or session.as_json, **options))
