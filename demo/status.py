"""The answers of trapctl with ``--json`` (schema 2), as far as the demonstration needs them, and their changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    state: str
    since: float  # when it entered its state; seconds since the epoch
    code: str
    version: str
    active: int | None  # tasks that it runs


@dataclass(frozen=True, slots=True)
class Status:
    """One answer; ``rollout`` is empty if there was none yet."""

    disk: str
    disk_reason: str
    installed: str
    wanted: int
    ready: int
    rollout: str
    rollout_reason: str
    rollout_id: int
    rollout_ended: float | None  # seconds since the epoch
    pins: int  # runs that hold the code
    workers: tuple[Worker, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Status:
        """Read an answer with exactly one pool."""
        (pool,) = answer["pools"]
        rollout = pool["rollout"] or {"state": "", "reason": "", "id": 0}
        workers = (
            Worker(
                one["name"], one["state"], one["since"], one["code"] or "-",
                (one["versions"] or {}).get("trap", "?"), one["active_tasks"],
            )
            for one in pool["instances"]
        )  # fmt: skip
        disk = answer["disk"]
        return cls(
            disk["state"],
            disk.get("reason") or "",
            (disk["versions"] or {}).get("trap", "?"),
            pool["wanted"],
            pool["ready"],
            rollout["state"],
            rollout["reason"] or "",
            rollout["id"],
            rollout.get("ended"),
            len(pool["pins"]),
            tuple(workers),
        )

    def settled_on(self, version: str) -> bool:
        """As many workers as wanted, all ready, current and on this version; the rollout complete."""
        whole = len(self.workers) == self.wanted == self.ready and self.rollout in ("", "complete")
        return whole and all(
            (one.state, one.code, one.version) == ("ready", "current", version) for one in self.workers
        )

    @property
    def ready_workers(self) -> set[str]:
        """Their names."""
        return {one.name for one in self.workers if one.state == "ready"}

    @property
    def failed(self) -> str:
        """Return why the rollout will not end by itself; empty if it may."""
        over = self.rollout in ("rejected", "failed")
        return f"the rollout was {self.rollout}: {self.rollout_reason}" if over else ""


def changes(old: Status | None, new: Status) -> Iterator[str]:
    """Return what happened between two answers, for users."""
    if old is None or old.disk != new.disk or old.installed != new.installed:
        reason = f": {new.disk_reason}" if new.disk_reason else ""
        yield f"on disk: trap {new.installed}, {new.disk}{reason}"
    if (old.pins if old else 0) != new.pins:
        yield "the code is pinned by a run" if new.pins else "the run has ended, and its pin with it"
    if new.rollout and (old is None or old.rollout != new.rollout):
        yield f"rollout {new.rollout}" + (f": {new.rollout_reason}" if new.rollout_reason else "")
    before = {one.name: one for one in old.workers} if old else {}
    now = {one.name: one for one in new.workers}
    for name, worker in now.items():
        if name not in before or before[name].state != worker.state:
            version = f" with trap {worker.version}" if worker.state == "ready" else ""
            yield f"{name} {worker.state}{version}"
    for name in before.keys() - now.keys():
        yield f"{name} gone"


def starts(answer: Mapping[str, Any]) -> dict[str, float | None]:
    """How long each worker's last start took, in seconds, by its name and in the order of time.

    ``answer`` is that of ``trapctl events --json``; None: trapd does not know.
    """
    found: dict[str, float | None] = {}
    for event in answer["events"]:
        if event["kind"] == "ready":
            found.pop(event["instance"], None)
            found[event["instance"]] = event["duration"]
    return found
