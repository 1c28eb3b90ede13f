"""`trapctl scale`"""

from __future__ import annotations

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.changes import change
from trapd.ctl.session import Session
from trapd.sizes import counted

_DONE = "pool {pool}: {workers} wanted, {before} before"


@click.command(context_settings={"ignore_unknown_options": True})
@options.POOL
@click.argument("workers", metavar="[N|+N|-N]", required=False)
@click.option("--reset", is_flag=True, help="Go back to the number of workers in trapd.toml.")
@options.json
@click.pass_obj
def verb(session: Session, pool: str, workers: str | None, reset: bool) -> int:
    """Set the number of workers of a pool: N, N more or N fewer.

    The number holds until the pool is scaled again, also after a restart of trapd. `trapctl status` shows a number that
    differs from the one in trapd.toml.
    """
    if reset == (workers is not None):
        raise click.UsageError("say how many workers: N, +N, -N, or --reset")
    text = workers or "reset"
    return change(
        session,
        methods.SCALE({"pool": pool, "workers": text}),
        lambda answer: _DONE.format(**answer, workers=counted(answer["wanted"], "worker")),
    )
