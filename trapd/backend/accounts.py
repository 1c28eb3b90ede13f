"""The accounts of either backend's workers: by their task sockets; where a socket is silent, by their task tables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trapd import task_table
from trapd.backend import reports
from trapd.backend.task_socket import NoAnswerError, ask
from trapd.contracts import Accounts, Asked, Ended
from trapd.errors import RefusedError
from trapd.event import Became, TaskEnd
from trapd.layout import Runtime
from trapd.masking import mask
from trapd.work import TaskCounts, TaskRun, Work

LOOKING = 2.0  # s that a worker has for an answer: one that stands still gives none
_MOST_TASKS = 10_000  # of one application that are remembered; an answer may have any number
_WORDS = 250  # characters of a name or an id that are shown
_BECAME = {"held": Became.UNKNOWN, "finished": Became.FINISHED, "returned": Became.RETURNED}
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


class WorkerAccounts(Accounts):
    """Keeps A1 to A13. ``runtime``: the folder of the workers' files."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = Runtime(runtime)

    async def work(
        self, instance: str, pid: int, retrials: Mapping[str, str] | None = None, *, abstain: bool = False
    ) -> Work:
        question: dict[str, object] = {"ask": "tasks"}
        if retrials is not None:
            question |= {"retrials": retrials, "abstain": abstain}
        try:
            return parse(await ask(self._runtime.task_socket(instance), pid, question, LOOKING))
        except NoAnswerError as error:
            return Work(await asyncio.to_thread(self.written, instance, pid), unanswered=str(error))
        except _UNREADABLE as error:
            return Work(unanswered=f"its answer cannot be read ({type(error).__name__})")

    async def works(self, asked: Sequence[Asked]) -> Sequence[Work]:
        return await asyncio.gather(
            *(self.work(one.instance, one.pid, one.retrials, abstain=one.abstain) for one in asked)
        )

    async def end(self, instance: str, pid: int, id: str, *, now: bool) -> str:
        return await self._do(instance, pid, {"end": id, "now": now})

    async def poison(self, instance: str, pid: int, id: str, order: str) -> str:
        return await self._do(instance, pid, {"poison": order, "id": id})

    async def _do(self, instance: str, pid: int, order: Mapping[str, object]) -> str:
        try:
            answer = await ask(self._runtime.task_socket(instance), pid, order)
        except NoAnswerError as error:
            raise RefusedError(f"{instance} does not answer: {error}") from None
        if "done" in answer:
            return mask(str(answer["done"]))
        raise RefusedError(mask(str(answer.get("error", "it gives no reason"))))

    async def left(self, ended: Ended) -> Sequence[TaskEnd]:
        return await asyncio.to_thread(self._left, ended)

    def _left(self, ended: Ended) -> Sequence[TaskEnd]:
        found: dict[str, TaskEnd] = {}
        with contextlib.suppress(OSError, *_UNREADABLE, RecursionError):
            found = receipt(reports.content(self._runtime.receipt(ended.instance)), ended)
        with contextlib.suppress(OSError, ValueError):
            path = self._runtime.task_table(ended.instance)
            writer, tasks = task_table.parse(reports.content(path))
            for task in tasks if ended.is_of(writer, math.inf) else ():
                found.setdefault(task.id, TaskEnd(_word(task.id), _word(task.name), Became.UNKNOWN))
        return list(found.values())

    async def settle(self, instance: str, *, gone: bool) -> None:
        await asyncio.to_thread(self._settle, instance, gone)

    def _settle(self, instance: str, gone: bool) -> None:
        files = [self._runtime.receipt(instance), *([self._runtime.task_table(instance)] if gone else [])]
        for file in files:
            with contextlib.suppress(OSError):  # under systemd the folder is the workers'
                file.unlink(missing_ok=True)

    def written(self, instance: str, pid: int) -> tuple[TaskRun, ...]:
        """See A5; empty if the table is of another process."""
        with contextlib.suppress(OSError, ValueError):
            writer, tasks = task_table.parse(reports.content(self._runtime.task_table(instance)))
            if writer == pid:
                return tuple(TaskRun(_word(task.id), _word(task.name), task.since) for task in tasks)
        return ()

    async def registered(self, instance: str, pid: int) -> Mapping[str, str] | None:
        with contextlib.suppress(NoAnswerError, *_UNREADABLE):
            answer = await ask(self._runtime.task_socket(instance), pid, {"ask": "registered"}, LOOKING)
            told = list(answer["registered"].items())[:_MOST_TASKS]
            return {_word(name): _word(digest) for name, digest in told}
        return None

    async def admit(self, instance: str, pid: int) -> bool:
        with contextlib.suppress(NoAnswerError):
            return "done" in await ask(self._runtime.task_socket(instance), pid, {"serve": True}, LOOKING)
        return False

    async def waiting(self, instance: str, pid: int, tasks: Sequence[str]) -> Mapping[str, int | None] | None:
        question = {"ask": "waiting", "tasks": list(tasks)}
        with contextlib.suppress(NoAnswerError, *_UNREADABLE):
            found = (await ask(self._runtime.task_socket(instance), pid, question, LOOKING))["waiting"]
            return {_word(queue): None if count is None else int(count) for queue, count in found.items()}
        return None


async def interrupt(instances: Path, instance: str, pid: int) -> bool:
    """See B17; ``instances``: the folder of the workers' files. A worker of an earlier trapd does not know the
    question, and answers with an error."""
    socket = Runtime(instances.parent).task_socket(instance)
    try:
        answer = await ask(socket, pid, {"interrupt": "tasks"}, LOOKING)
    except NoAnswerError:
        return False
    return bool(answer.get("interrupted"))


def receipt(content: bytes, ended: Ended) -> dict[str, TaskEnd]:
    """Read a worker's receipt (worker/receipt.py), which anybody may have written; a task that is only held is unknown.
    Empty if it is of another run. A line that was cut by the end of the worker counts for nothing. Raises what wrong
    values raise."""
    found: dict[str, TaskEnd] = {}
    first, *lines = content.rpartition(b"\n")[0].split(b"\n")
    head = json.loads(first)
    if not ended.is_of(int(head["pid"]), float(head["wall"])):
        return found
    for line in lines:
        said = json.loads(line)
        for word, became in _BECAME.items():
            if word in said:
                found[str(said[word])] = TaskEnd(_word(said[word]), _word(said["name"]), became)
    return found


def parse(answer: Mapping[str, Any]) -> Work:
    """Read a worker's answer, which anybody may have written. Raises what wrong values raise."""
    return Work(
        running=tuple(
            TaskRun(
                _word(task["id"]),
                _word(task["name"]),
                float(task["since"]),
                None if task["queue"] is None else _word(task["queue"]),
            )
            for task in answer["running"]
        ),
        phase=_word(answer["phase"]),
        reserved=int(answer["reserved"]),
        queues=tuple(_word(queue) for queue in answer["queues"]),
        delivered=None if answer["delivered"] is None else float(answer["delivered"]),
        counts=_by_name(answer["tasks"]),
        retrials=_by_name(answer.get("retrials", {})),
        compared=_by_name(answer.get("compared", {})),
    )


def _by_name(found: Mapping[str, Mapping[str, Any]]) -> dict[str, TaskCounts]:
    return {_word(name): _counts(counts) for name, counts in found.items()}


def _counts(counts: Mapping[str, Any]) -> TaskCounts:
    numbers = ("received", "started", "succeeded", "retried", "revoked", "unbegun", "withdrawn")
    return TaskCounts(
        **{name: int(counts[name]) for name in numbers},
        failed=_errors(counts["failed"]),
        roots=_errors(counts["roots"]) if "roots" in counts else None,
        latest=_latest(counts["latest"]) if "latest" in counts else None,
        seconds=float(counts["seconds"]),
        longest=float(counts["longest"]),
    )


def _latest(found: Any) -> tuple[int, int]:
    ended, failed = map(int, found)
    if not 0 <= failed <= ended:
        raise ValueError(f"{failed} of {ended} tasks failed")
    return ended, failed


def _errors(found: Mapping[str, Any]) -> dict[str, int]:
    return {_word(error): int(number) for error, number in found.items()}


def _word(value: object) -> str:
    """Without passwords and control characters: it is shown on other people's terminals."""
    return "".join(char if char.isprintable() else "?" for char in mask(str(value))[:_WORDS])
