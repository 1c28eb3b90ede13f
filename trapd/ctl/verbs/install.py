"""`trapctl install`"""

from __future__ import annotations

from pathlib import Path

import click

ROOT = click.option(
    "--root",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default="/",
    help="Work on the system in this folder, which does not run: nothing is started.",
)


@click.command()
@ROOT
def verb(root: Path) -> int:
    """Make trapd a service of systemd, where it came with pip.

    Writes its units, with the place of this virtual environment in them, its commands, man pages and completions;
    makes its users; puts the configuration as shipped into /etc/trapd, where there is none. Says what it does, and
    done again, changes only what is outdated.
    """
    from trapd.ctl.install import install

    return install(root)
