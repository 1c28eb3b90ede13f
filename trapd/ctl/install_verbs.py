"""`trapctl install` and `trapctl uninstall`: the verbs that need no trapd, but root."""

from __future__ import annotations

from pathlib import Path

import click

_UNITS = click.option(
    "--units", is_flag=True, required=True, expose_value=False, help="What systemd needs, and trapd's commands."
)
_ROOT = click.option(
    "--root",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default="/",
    help="Of another system, which is not running: nothing is started.",
)


@click.command()
@_UNITS
@_ROOT
def install(root: Path) -> int:
    """Make trapd a service of systemd, where it came with pip.

    Writes its units, with the place of this virtual environment in them, its commands, man pages and completions;
    makes its users; puts the configuration as shipped into /etc/trapd, where there is none. Says what it does, and
    done again, changes only what is outdated.
    """
    from trapd.ctl.install import install as run

    return run(root)


@click.command()
@_UNITS
@_ROOT
@click.option("--purge", is_flag=True, help="The configuration, the state and the caches, too.")
def uninstall(root: Path, purge: bool) -> int:
    """Take back what `trapctl install` did.

    First trapd is stopped, and its workers finish their tasks, however long that takes.
    """
    from trapd.ctl.install import uninstall as run

    return run(root, purge=purge)


def add_to(cli: click.Group) -> None:
    """Make them verbs of trapctl."""
    cli.add_command(install)
    cli.add_command(uninstall)
