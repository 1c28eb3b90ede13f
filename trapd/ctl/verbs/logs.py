"""`trapctl logs`"""

from __future__ import annotations

import click

from trapd.ctl.session import Session


@click.command()
@click.argument("subject", required=False, metavar="[POOL|INSTANCE]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is still to come, until Ctrl-C.")
@click.option("--since", metavar="TIME", help='Not older than this, as journalctl reads it: "10 min ago".')
@click.option("--json", "as_json", is_flag=True, help="The journal's own JSON, one entry a line.")
@click.pass_obj
def verb(session: Session, subject: str | None, follow: bool, since: str | None, as_json: bool) -> None:
    """What the workers said, and trapd about them."""
    from trapd.ctl.logs import show

    show(session.settings, subject, follow=follow, since=since, as_json=as_json)
