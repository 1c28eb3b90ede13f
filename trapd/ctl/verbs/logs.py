"""`trapctl logs`"""

from __future__ import annotations

from typing import Any

import click

from trapd.ctl import complete
from trapd.ctl.session import Session


@click.command()
@click.argument("subject", required=False, metavar="[POOL|INSTANCE]", shell_complete=complete.pools_and_workers)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show the last N lines; default 100, unless --since is given.",
)
@click.option(
    "-p", "--priority", metavar="LEVEL", help='Show lines of this priority and worse, as for journalctl: "err".'
)
@click.option("--since", metavar="TIME", help='Show no older lines, as for journalctl: "10 min ago".')
@click.option("--until", metavar="TIME", help="Show no newer lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the journal's own JSON, one entry a line.")
@click.pass_obj
def verb(session: Session, /, subject: str | None, as_json: bool, **options: Any) -> None:
    """Show the log lines of the workers, and those of trapd about them.

    Without other options these are the last 100 lines. Under systemd, journalctl shows them; under the embedded
    backend, tail does, which knows neither times nor priorities.
    """
    from trapd.ctl.logs import Wish, show

    show(session.settings, subject, Wish(as_json=as_json or session.as_json, **options))
