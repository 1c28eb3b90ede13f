"""`generations.diff`: what is different between two generations, in distributions, in registered tasks and in files."""

from __future__ import annotations

from collections.abc import Mapping

from trapd.control import documents, requests
from trapd.control.handlers import Call
from trapd.control.protocol import SCHEMA
from trapd.errors import UsageError
from trapd.model import Generation
from trapd.rollout import task_changes
from trapd.rollout.changes import Change, changes

MOST_FILES = 1000
Files = Mapping[str, tuple[str, int]]


async def generations_diff(call: Call[requests.OfDiff]) -> documents.Differences:
    """Show what is different between the generations `before` and `after`: distributions, tasks and files."""
    controller = call.context.controller
    before, after = (_known(controller.generations, call.params[key]) for key in ("before", "after"))
    table = {*before.distributions, *after.distributions}
    found = changes(before.distributions, after.distributions, table) if comparable(before, after) else ()
    files = await controller.snapshots.files(before.number), await controller.snapshots.files(after.number)
    different = _different(*files)
    return {
        "schema": SCHEMA,
        "before": before.number,
        "after": after.number,
        "distributions": [_described(change) for change in found],
        "tasks": _tasks(before.tasks, after.tasks),
        "files": different[:MOST_FILES],
        "more_files": max(0, len(different) - MOST_FILES),
        "unknown": _unknown(before, after, *files),
    }


def comparable(before: Generation, after: Generation) -> bool:
    """Whether it is known of both what was installed."""
    return bool(before.distributions and after.distributions)


def _known(generations: Mapping[int, Generation], number: int) -> Generation:
    if number in generations:
        return generations[number]
    there = ", ".join(str(known) for known in sorted(generations)) or "none"
    raise UsageError(f"cannot compare generation {number}: no record of it is kept; there are: {there}")


def _described(change: Change) -> documents.ChangedDistribution:
    versions = [None if content is None else content.version for content in (change.before, change.after)]
    return {"name": change.name, "before": versions[0], "after": versions[1], "text": str(change)}


def _tasks(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> list[documents.ChangedTask]:
    if before is None or after is None:
        return []
    lost = task_changes.between(before, after)
    found: list[documents.ChangedTask] = [{"name": name, "change": "missing"} for name in lost.missing]
    found += [{"name": name, "change": "altered"} for name in lost.altered]
    found += [{"name": name, "change": "added"} for name in task_changes.between(after, before).missing]
    return sorted(found, key=lambda task: task["name"])


def _different(before: Files, after: Files) -> list[documents.ChangedFile]:
    if not (before and after):
        return []
    found: list[documents.ChangedFile] = []
    for path in sorted({*before, *after}):
        if path not in before:
            found.append({"path": path, "change": "added"})
        elif path not in after:
            found.append({"path": path, "change": "removed"})
        elif not _same(before[path], after[path]):
            found.append({"path": path, "change": "changed"})
    return found


def _same(before: tuple[str, int], after: tuple[str, int]) -> bool:
    known = before[0] and after[0]
    return before[1] == after[1] and (before[0] == after[0] or not known)


def _unknown(before: Generation, after: Generation, *files: Files) -> str:
    parts = [] if comparable(before, after) else ["the distributions: an earlier trapd made one of these generations"]
    gone = [generation for generation, of in zip((before, after), files, strict=True) if not of]
    parts += [
        f"the tasks: no worker of generation {generation.number} has told them"
        for generation in (before, after)
        if generation.tasks is None
    ][:1]
    parts += [f"the files: the snapshot of generation {generation.number} is not there" for generation in gone]
    if all(files) and not all(digest for digest, _ in (*files[0].values(), *files[1].values())):
        parts.append("files of the same size: an earlier trapd made one of these generations")
    return "; ".join(parts)
