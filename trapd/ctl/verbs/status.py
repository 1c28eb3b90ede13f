"""`trapctl status`"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.client import UnreachableError
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Cell, Word, last_lines, since, versions
from trapd.units import running

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen

_EVERY = 2.0  # s between two looks of --watch


@click.command()
@options.POOLS
@click.option("--watch", is_flag=True, help="Again every 2 seconds, until Ctrl-C.")
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], watch: bool) -> int:
    """What runs, against what should."""
    return _watched(session, pools) if watch else _status(session, pools)


def _status(session: Session, pools: Sequence[str]) -> Exit:
    document = _asked(session)
    known = [pool["name"] for pool in document["pools"]]
    if missing := [name for name in pools if name not in known]:
        session.complain(f"cannot find pool {missing[0]!r}: there are: {', '.join(known)}", Exit.UNKNOWN)
        return Exit.UNKNOWN
    if pools:
        document["pools"] = [pool for pool in document["pools"] if pool["name"] in pools]
    session.answer(document, show)
    problems = [*document["problems"], *(problem for pool in document["pools"] for problem in pool["problems"])]
    return Exit.FAILED if problems else Exit.OK


def _asked(session: Session) -> documents.Status:
    """Raises UnreachableError, which tells of workers that run on without trapd."""
    try:
        return session.ask(methods.STATUS({}))
    except UnreachableError as error:
        workers = running.workers() if error.absent and session.socket_option is None else 0
        if not workers:
            raise
        raise UnreachableError(f"{error}; {workers} worker(s) run on without it", absent=True) from None


def _watched(session: Session, pools: Sequence[str]) -> Exit:
    """Until Ctrl-C."""
    while True:
        if session.screen.terminal:
            session.screen.console.clear()
        try:
            _status(session, pools)
        except UnreachableError as error:
            session.screen.line(str(error))
        session.screen.console.file.flush()
        time.sleep(_EVERY)


def show(screen: Screen, document: documents.Status) -> None:
    """Print the daemon, the disk, and every pool with its workers."""
    now, daemon, disk = time.time(), document["daemon"], document["disk"]
    eager = ", tasks run where they are submitted: no workers are needed" if daemon["eager"] else ""
    screen.line(
        "trapd ", daemon["version"], " ", Word(daemon["state"]), f", pid {daemon['pid']}, ", daemon["backend"], eager
    )
    reason = f": {disk['reason']}" if disk["reason"] else ""
    screen.line("disk  ", Word(disk["state"]), ", ", versions(disk["versions"]), reason)
    for problem in document["problems"]:
        if problem != f"trapd is {daemon['state']}" and not (disk["reason"] and problem.endswith(disk["reason"])):
            screen.line(Word("problem"), f": {problem}")  # the others are said above
    for warning in document["warnings"]:
        screen.line(Word("warning"), f": {warning}")
    for pool in document["pools"]:
        screen.line("")
        _pool(screen, pool, now)


def _pool(screen: Screen, pool: documents.Pool, now: float) -> None:
    number = f"generation {pool['generation']}" if pool["generation"] is not None else "no generation yet"
    paused = ", paused" if pool["paused"] else ""
    screen.line(f"pool {pool['name']}: {pool['ready']} of {pool['wanted']} ready, {number}{paused}")
    rollout = pool["rollout"]
    if rollout is not None:
        screen.line(f"rollout {rollout['id']} ", Word(rollout["state"]), f": {rollout['reason']}", indent=2)
        if rollout["state"] in ("rejected", "failed"):
            screen.lines(last_lines(rollout["detail"]), indent=6)
    if pool["waiting"]:
        screen.line(f"waiting for {pool['waiting']}", indent=2)
    for problem in pool["problems"]:
        if rollout is not None and rollout["reason"] and problem.endswith(rollout["reason"]):
            continue  # said above
        screen.line(Word("problem"), f": {problem}", indent=2)
    if pool["instances"]:
        columns = ("WORKER", "STATE", "CODE", "VERSIONS", "TASKS", "AGE", "PID")
        screen.table(columns, [_row(one, now) for one in pool["instances"]], spare=("PID", "AGE", "TASKS", "VERSIONS"))


def _row(one: documents.Instance, now: float) -> list[Cell]:
    tasks = "-" if one["active_tasks"] is None else str(one["active_tasks"])
    pid = "-" if one["pid"] is None else str(one["pid"])
    return [
        one["name"],
        Word(one["state"]),
        Word(one["code"] or "-"),
        versions(one["versions"]),
        tasks,
        since(one["since"], now),
        pid,
    ]
