"""`trapctl install`"""

from __future__ import annotations

from pathlib import Path

import click

ROOT = click.option(
    "--root",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default="/",
    help="Work on the system in this folder, which does not run; start nothing.",
)


@click.command()
@ROOT
def verb(root: Path) -> int:
    """Make trapd a service of systemd, if pip installed it.

    Write the units, with the path of this virtual environment in them, the commands, the man pages and the
    completions; make the users; put the shipped configuration into /etc/trapd, if there is none. Each step is
    printed. A second run changes only what is outdated.
    """
    from trapd.ctl.install import install

    return install(root)
