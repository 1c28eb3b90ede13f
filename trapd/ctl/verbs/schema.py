"""`trapctl schema`"""

from __future__ import annotations

from pathlib import Path

import click

import trapd
from trapd.ctl.exits import Exit

FILE = Path(trapd.__file__).with_name("control") / "schema.json"


@click.command()
def verb() -> int:
    """Print the JSON Schema of every answer of --json.

    trapd need not run. The results on the control socket are the same documents.
    """
    click.echo(FILE.read_text(encoding="utf-8"), nl=False)
    return Exit.OK
