"""`trapctl uninstall`"""

from __future__ import annotations

from pathlib import Path

import click

from trapd.ctl.verbs.install import ROOT


@click.command()
@ROOT
@click.option("--purge", is_flag=True, help="Remove the configuration, the state and the caches, too.")
def verb(root: Path, purge: bool) -> int:
    """Remove what `trapctl install` has put in place.

    trapd is stopped first, and its workers finish their tasks, however long that takes.
    """
    from trapd.ctl.install import uninstall

    return uninstall(root, purge=purge)
