"""`trapctl run`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trapd.ctl import complete
from trapd.ctl.session import Session

_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=_SETTINGS)
@click.option("--pool", metavar="POOL", shell_complete=complete.pools, help="Run on this pool; else on the only pool.")
@click.option(
    "--queue",
    "-Q",
    metavar="QUEUE",
    help="Send tasks to this queue of the pool; else to the one with your name, else to the first.",
)
@click.option(
    "--on-error",
    type=click.Choice(["reject", "stop"]),
    default="reject",
    help="An image that cannot be used: leave it out, name it and exit with 23, or stop. Default: reject.",
)
@click.option(
    "--on-upgrade",
    type=click.Choice(["pin", "redo", "mix"]),
    default="pin",
    help="An upgrade meanwhile: hold it up until the run ends, extract again what fewer images have, or use both "
    "versions and exit with 25. Default: pin.",
)
@click.option("--in-flight", type=click.IntRange(1), metavar="N", help="Images in work at once; else as memory allows.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep answers there, to go on after an interruption; else beside the database.",
)
@click.argument("trap", nargs=-1, type=click.UNPROCESSED, metavar="-- OPTIONS OF TRAP-RUN")
@click.pass_obj
def verb(
    session: Session,
    pool: str | None,
    queue: str | None,
    on_error: str,
    on_upgrade: str,
    in_flight: int | None,
    keep: Path | None,
    trap: Sequence[str],
) -> int:
    """Run Trap on a series of images, the pixel work on the workers.

    After -- come the options of trap-run, all of them as they are. The database is the same as that of trap-run, with
    two more tables: trapd_run and trapd_provenance, which names for each image the versions, the worker and the host.
    Trap's main line runs here, on the generation that the workers run if you may read the service's settings, else on
    what is installed now, with your own celeryconfig. The same command goes on where an interrupted run has ended. The
    page series.md among trapd's documents describes all of it.

    If a rollout is under way the run begins when the rollout has ended; if the rollout waits for a person, the exit
    status is 75. Other exit statuses: 0 complete, 23 images were rejected, 24 every image fails alike, 25 more than one
    version answered, 75 broker or workers do not answer, 130 interrupted.
    """
    from trapd.ctl.run import start

    options = ["--on-error", on_error]
    options += ["--in-flight", str(in_flight)] if in_flight else []
    options += ["--keep", str(keep)] if keep else []
    return start(session, pool, on_upgrade, options, trap, queue=queue)
