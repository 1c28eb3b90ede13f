"""`trapctl celery`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trapd.ctl import complete
from trapd.ctl.session import Session


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False, options_metavar="")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="ARGUMENTS...", shell_complete=complete.celery)
@click.pass_obj
def verb(session: Session, arguments: Sequence[str]) -> int:
    """Run any Celery sub-command on this application.

    The sub-command gets the settings and the code of the service. For example, "trapctl celery inspect active" lists
    the tasks that run, and "trapctl celery inspect trapd_code" lists the code that each worker of the whole cluster
    has loaded. The exit status is Celery's.
    """
    from trapd.ctl.celery import become

    return become(session, arguments)
