"""`trapctl status`"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import options
from trapd.ctl.client import UnreachableError
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.words import Cell, Row, Word, last_lines, lasting, moment, short, since, transition, versions
from trapd.sizes import amount, counted
from trapd.units import running

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen

_EVERY = 2.0  # s between two looks of --watch
_Ages = Mapping[tuple[str | None, str], str]  # pool and sentence -> what follows
_LABEL = 11  # columns of "waits for" and its like


@click.command()
@options.POOLS
@click.option("--watch", is_flag=True, help="Show the status again every 2 seconds, until Ctrl-C.")
@options.json
@click.pass_obj
def verb(session: Session, pools: Sequence[str], watch: bool) -> int:
    """Show the workers that run, and those that should run."""
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
        raise UnreachableError(
            f"{error}; {counted(workers, 'worker runs', 'workers run')} on without it", absent=True
        ) from None


def _watched(session: Session, pools: Sequence[str]) -> Exit:
    """Until Ctrl-C."""
    while True:
        session.screen.clear()
        try:
            _status(session, pools)
        except UnreachableError as error:
            session.screen.line(str(error))
        session.screen.file.flush()
        time.sleep(_EVERY)


def show(screen: Screen, document: documents.Status, now: float | None = None) -> None:
    """Print the daemon, the disk, and every pool with its workers; ``now`` in seconds since the epoch."""
    now, daemon, disk = time.time() if now is None else now, document["daemon"], document["disk"]
    eager = ", tasks run where they are submitted: no workers are needed" if daemon["eager"] else ""
    place = f" on {daemon['host']}, pid {daemon['pid']}, {daemon['backend']}{eager}"
    screen.line("trapd ", daemon["version"], " ", Word(daemon["state"]), place)
    reason = f": {disk['reason']}" if disk["reason"] else ""
    mark = f" ({short(disk['digest'])})" if disk["digest"] else ""
    ages = _ages(document, now)
    of_disk = {problem for problem in document["problems"] if disk["reason"] and problem.endswith(disk["reason"])}
    age = next((ages.get((None, problem), "") for problem in of_disk), "")
    screen.line("disk  ", Word(disk["state"]), f", {versions(disk['versions'])}{mark}{reason}{age}")
    for problem in document["problems"]:
        if problem != f"trapd is {daemon['state']}" and problem not in of_disk:
            screen.line(Word("problem"), f": {problem}{ages.get((None, problem), '')}")  # the others are said above
    for warning in document["warnings"]:
        screen.line(Word("warning"), f": {warning}")
    for pool in document["pools"]:
        screen.line("")
        _pool(screen, pool, now, ages)


def _ages(document: documents.Status, now: float) -> _Ages:
    """Return what follows the sentence of each problem."""
    known = document.get("open_problems", [])  # a trapd from before the upgrade has none
    return {(problem["pool"], problem["text"]): lasting(problem, now - problem["since"]) for problem in known}


def _pool(screen: Screen, pool: documents.Pool, now: float, ages: _Ages) -> None:
    rollout = pool["rollout"]
    screen.line(f"pool {pool['name']}: ", *_verdict(pool, now))
    if rollout is not None and rollout["ended"] is None:
        screen.line(_change(rollout), indent=2)
        tasks = rollout.get("tasks")  # a trapd from before the upgrade does not compare them
        if tasks and tasks["text"]:
            screen.entry("tasks", tasks["text"], indent=2, column=_LABEL)
    said: list[str] = []
    if rollout is not None and rollout["state"] in ("rejected", "failed"):
        said.append(rollout["reason"])
        took = since(rollout["started"], rollout["ended"] or now)
        screen.line(
            f"rollout {rollout['id']} ", Word(rollout["state"]), f" after {took}: {rollout['reason']}", indent=2
        )
        screen.lines(last_lines(rollout["detail"]), indent=6)
    for pin in pool.get("pins", []):  # a trapd from before the upgrade knows none
        screen.entry("pinned", _pin(pin), indent=2, column=_LABEL)
    for label, text in (("waits for", pool["waiting"]), ("next", pool["next"])):
        if text:
            screen.entry(label, text, indent=2, column=_LABEL)
    for problem in pool["problems"]:
        if not any(reason and problem.endswith(reason) for reason in said):  # said above
            screen.entry("problem", f"{problem}{ages.get((pool['name'], problem), '')}", indent=2, column=_LABEL)
    if pool["instances"]:
        columns = ("WORKER", "STATE", "CODE", "TASKS", "UP", "RESTARTS", "MEMORY")
        screen.table(columns, [_row(instance, now) for instance in pool["instances"]], lead=3)


def _verdict(pool: documents.Pool, now: float) -> list[Cell]:
    """Is it as desired, in a word, and how many work."""
    rollout, number = pool["rollout"], pool["generation"]
    code = f"{versions(pool['versions'])}, generation {number}" if number is not None else "no generation yet"
    mark = f" ({short(pool['digest'])})" if pool["digest"] else ""
    ready = f", {pool['ready']} of {pool['wanted']} ready"
    if pool["paused"]:
        return [Word("paused"), f"{ready}, {code}{mark}"]
    if rollout is not None and rollout["ended"] is None:
        updated = sum(
            instance["state"] == "ready" and instance["generation"] == number for instance in pool["instances"]
        )
        on_new = f", {updated} of {pool['wanted']} on generation {number}"
        return [Word(rollout["state"]), f" for {since(rollout['started'], now)}{ready}{on_new}"]
    state = Word("not as desired") if pool["problems"] else Word("as desired")
    return [state, f"{ready}, {code}{mark}"]


def _pin(pin: documents.Pin) -> str:
    away = "; its holder is not connected again yet" if pin["away"] else ""
    reason = f", for {pin['reason']}" if pin["reason"] else ""
    until = f"until {moment(pin['until'])} at the latest"
    return f"generation {pin['generation']} by {pin['actor']}, since {moment(pin['since'])}, {until}{reason}{away}"


def _change(rollout: documents.Rollout) -> str:
    """From which code to which, by whom, and why."""
    numbers = f"generation {rollout['previous'] or '-'} -> {rollout['generation']}"
    change = transition(rollout["previous_versions"], rollout["versions"])
    why = f": {rollout['reason']}" if rollout["reason"] not in ("", change) else ""
    return f"{change}{', ' if change else ''}{numbers}, rollout {rollout['id']} by {rollout['actor']}{why}"


def _row(instance: documents.Instance, now: float) -> Row:
    tasks = "-" if instance["active_tasks"] is None else str(instance["active_tasks"])
    slots = f"/{instance['slots']}" if instance["slots"] is not None else ""
    memory, restarts = instance["memory"], instance["restarts"]
    used = "-" if memory is None else amount(memory["used"])
    limit = f" of {amount(memory['limit'])}" if memory is not None and memory["limit"] is not None else ""
    notes = [f"last restart {since(restarts['at'], now)} ago: {restarts['cause']}"] if restarts["count"] else []
    notes += _wait(instance.get("waits_for", []), now)  # a trapd from before the upgrade does not name them
    cells = [
        instance["name"],
        Word(
            instance["state"]
            if instance["state"] == "ready"
            else f"{instance['state']} {since(instance['since'], now)}"
        ),
        _code(instance),
        f"{tasks}{slots}" if tasks != "-" else "-",
        since(instance["ready_at"], now) if instance["pid"] is not None else "-",
        str(restarts["count"]),
        f"{used}{limit}",
    ]
    return Row(cells, notes)


def _wait(tasks: Sequence[documents.RunningTask], now: float) -> list[str]:
    """The task that a drain has waited for longest, and how many more there are."""
    if not tasks:
        return []
    oldest = min(tasks, key=lambda task: task["since"])
    more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
    return [f"waits for task {oldest['name']}[{oldest['id']}], which has run for {since(oldest['since'], now)}{more}"]


def _code(instance: documents.Instance) -> Cell:
    """The version that it loaded, and what is to be known of it beside that."""
    if instance["code"] is None or (instance["code"] == "unknown" and instance["state"] == "starting"):
        return "-"
    if instance["code"] == "unknown":
        return Word("unknown")
    found = instance["versions"]
    loaded = next(iter(found.values())) if len(found) == 1 else versions(found)
    return loaded if instance["code"] == "current" else f"{loaded} {instance['code']}"
