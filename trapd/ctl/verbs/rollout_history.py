"""`trapctl rollout history`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Row, moment, since, transition

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen


@click.command()
@options.ONE_POOL
@options.LIMIT
@options.json
@click.pass_obj
def verb(session: Session, pool: str | None, limit: int) -> int:
    """Show past rollouts, newest first."""
    session.answer(session.ask(methods.HISTORY({"pool": pool, "limit": limit})), show)
    return Exit.OK


def show(screen: Screen, document: documents.Rollouts) -> None:
    """Print a row for each rollout."""
    if not document["rollouts"]:
        return screen.line("nothing was ever rolled out")
    drains = {found["rollout"]: found for found in document.get("drains", ())}  # a trapd from before tells none
    columns = ("ROLLOUT", "WHEN", "POOL", "FROM -> TO", "BY", "RESULT")
    return screen.table(
        columns,
        [_row(one, drains.get(one["id"])) for one in document["rollouts"]],
        lead=3,
        bare=("FROM -> TO", "RESULT"),
        prose=True,
    )


def _row(rollout: documents.Rollout, drains: documents.Drains | None = None) -> Row:
    previous = "-" if rollout["previous"] is None else str(rollout["previous"])
    change = transition(rollout["previous_versions"], rollout["versions"])
    numbers = f"{previous} -> {rollout['generation']}"
    cells = [
        str(rollout["id"]),
        moment(rollout["started"]),
        rollout["pool"],
        f"{change} ({numbers})" if change else numbers,
        rollout["actor"],
        _result(rollout),
    ]
    tasks = rollout.get("tasks")  # a trapd from before the upgrade does not compare them
    notes = [tasks["text"]] if tasks and tasks["text"] else []
    if drains is not None:
        counts = f"{drains['finished']} finished, {drains['returned']} handed back, {drains['unknown']} unknown"
        notes.append(f"tasks of the workers that it drained: {counts}")
    return Row(cells, notes)


def _result(rollout: documents.Rollout) -> str:
    """How it ended and how long that took; why, unless it went well."""
    if rollout["ended"] is None:
        return f"{rollout['state']}: {rollout['reason']}"
    took = since(rollout["started"], rollout["ended"])
    return (
        f"complete in {took}"
        if rollout["state"] == "complete"
        else f"{rollout['state']} after {took}: {rollout['reason']}"
    )
