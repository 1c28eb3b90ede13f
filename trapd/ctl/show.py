"""Each document that trapd answers with, as a person reads it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from trapd.ctl.render import Cell, Screen, clean, last_lines, moment, since, versions, word

Document = Mapping[str, Any]


def status(screen: Screen, document: Document, pools: Sequence[str] = ()) -> None:
    """The daemon, the disk, and every pool (or those named) with its workers."""
    now, daemon, disk = time.time(), document["daemon"], document["disk"]
    eager = ", tasks run where they are submitted: no workers are needed" if daemon.get("eager") else ""
    screen.line(
        "trapd ", daemon["version"], " ", word(daemon["state"]), f", pid {daemon['pid']}, ", daemon["backend"], eager
    )
    reason = f": {disk['reason']}" if disk["reason"] else ""
    screen.line("disk  ", word(disk["state"]), ", ", versions(disk["versions"]), reason)
    for problem in document["problems"]:
        if problem != f"trapd is {daemon['state']}" and not (disk["reason"] and problem.endswith(disk["reason"])):
            screen.line(word("problem"), f": {problem}")  # the others are said above
    for pool in document["pools"]:
        if not pools or pool["name"] in pools:
            screen.line("")
            _pool(screen, pool, now)


def _pool(screen: Screen, pool: Document, now: float) -> None:
    number = f"generation {pool['generation']}" if pool["generation"] is not None else "no generation yet"
    paused = ", paused" if pool.get("paused") else ""
    screen.line(f"pool {pool['name']}: {pool['ready']} of {pool['wanted']} ready, {number}{paused}")
    rollout = pool["rollout"]
    if rollout is not None:
        screen.line(f"rollout {rollout['id']} ", word(rollout["state"]), f": {rollout['reason']}", indent=2)
        if rollout["state"] in ("rejected", "failed"):
            screen.lines(last_lines(rollout.get("detail", "")), indent=6)
    if pool.get("waiting"):
        screen.line(f"waiting for {pool['waiting']}", indent=2)
    for problem in pool.get("problems", []):
        if rollout is not None and rollout["reason"] and problem.endswith(rollout["reason"]):
            continue  # said above
        screen.line(word("problem"), f": {problem}", indent=2)
    if pool["instances"]:
        columns = ("WORKER", "STATE", "CODE", "VERSIONS", "TASKS", "AGE", "PID")
        screen.table(columns, [_row(one, now) for one in pool["instances"]], spare=("PID", "AGE", "TASKS", "VERSIONS"))


def _row(one: Document, now: float) -> list[Cell]:
    tasks = "-" if one["active_tasks"] is None else str(one["active_tasks"])
    pid = "-" if one["pid"] is None else str(one["pid"])
    return [
        one["name"],
        word(one["state"]),
        word(one["code"]),
        versions(one["versions"]),
        tasks,
        since(one["since"], now),
        pid,
    ]


def plan(screen: Screen, document: Document) -> None:
    for pool in document["pools"]:
        if pool["actions"]:
            screen.line(f"pool {pool['name']}:")
            screen.lines((action["text"] for action in pool["actions"]), indent=2)
        else:
            screen.line(f"pool {pool['name']}: nothing to do")
        if pool["waiting"]:
            screen.line(f"waiting for {pool['waiting']}", indent=2)


def why(screen: Screen, document: Document) -> None:
    for step in document["chain"]:
        screen.line(f"{moment(step['wall']):19}  ", word(step["what"]), f"  {step['text']}")
    screen.lines(last_lines(document["detail"], lines=40), indent=4)


def generations(screen: Screen, document: Document) -> None:
    if not document["generations"]:
        return screen.line("no generation yet: the code on disk has not settled")
    columns = ("NUMBER", "VERSIONS", "WORKERS", "STANDING", "MADE", "BY", "REASON")
    rows = [
        [
            str(one["number"]),
            versions(one["versions"]),
            str(one["workers"]),
            _standing(one),
            moment(one["wall"]),
            one["actor"],
            one["reason"],
        ]
        for one in document["generations"]
    ]
    return screen.table(columns, rows, spare=("BY", "MADE", "REASON"))


def _standing(one: Document) -> str:
    parts = [f"wanted by {', '.join(one['wanted_by'])}"] if one["wanted_by"] else []
    parts += ["good"] if one["good_for"] else []
    parts += ["refused"] if one["refused"] is not None else []
    return ", ".join(parts) or "-"


def history(screen: Screen, document: Document) -> None:
    if not document["rollouts"]:
        return screen.line("nothing was ever rolled out")
    columns = ("ROLLOUT", "POOL", "FROM", "TO", "STATE", "BEGAN", "TOOK", "BY", "REASON")
    return screen.table(columns, [_past(one) for one in document["rollouts"]], spare=("BY", "BEGAN", "TOOK", "FROM"))


def _past(one: Document) -> list[Cell]:
    previous = "-" if one["previous"] is None else str(one["previous"])
    took = "-" if one["ended"] is None else since(one["started"], one["ended"])
    return [
        str(one["id"]),
        one["pool"],
        previous,
        str(one["generation"]),
        word(one["state"]),
        moment(one["started"]),
        took,
        one["actor"],
        one["reason"],
    ]


def events(screen: Screen, document: Document) -> None:
    for one in document["events"]:
        subject = one["instance"] or one["pool"] or "trapd"
        by = f" (by {one['actor']})" if one["actor"] != "trapd" else ""
        screen.line(f"{moment(one['wall'])}  {subject}  ", word(one["what"]), f"  {one['why']}{by}")


def outcome(screen: Screen, document: Document) -> None:
    """The end of a rollout that went wrong: its traceback, and what serves now."""
    rollout = document["rollout"]
    screen.lines(last_lines(rollout["detail"], lines=60), indent=4)
    if rollout["state"] == "rejected" and rollout["previous"] is not None:
        screen.line(f"generation {rollout['previous']} serves, as before")
    screen.line(f"trapctl why {rollout['id']} tells more; trapctl retry {rollout['pool']} tries the same code again")


def findings(screen: Screen, found: Sequence[Document]) -> None:
    for one in found:
        screen.line(word(f"{one['level']}"), " " * (8 - len(one["level"])), clean(one["what"]))
        if one["level"] != "ok":
            screen.line(one["reason"], indent=8)
            screen.line(one["remedy"], indent=8)
        if one.get("detail"):
            screen.lines(last_lines(one["detail"], lines=12), indent=10)
