"""`trapctl check`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trapd.ctl import options
from trapd.ctl.session import Session
from trapd.ctl.words import Word, clean, last_lines

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.json
@click.pass_obj
def verb(session: Session) -> int:
    """Check the configuration for errors and for what can lose work.

    Check whether the configuration is sound, the application imports, the broker answers, and no setting can lose
    work. trapd need not run. If it runs, its problems are among the warnings, with their ages. The application is
    imported on its own interpreter, and nothing is changed. Errors give exit status 1; warnings do not.
    """
    from trapd.ctl.check import check as run

    return run(session)


def show(screen: Screen, found: Sequence[documents.Finding]) -> None:
    """Print each finding, with its reason and its remedy."""
    for finding in found:
        screen.line(Word(f"{finding['level']}"), " " * (8 - len(finding["level"])), clean(finding["what"]))
        if finding["level"] != "ok":
            screen.line(finding["reason"], indent=8)
            screen.line(finding["remedy"], indent=8)
        if finding["detail"]:
            whole = clean(finding["detail"]).split("\n")
            lines = whole if finding["level"] == "ok" else last_lines(finding["detail"], lines=12)
            screen.lines(lines, indent=10)
