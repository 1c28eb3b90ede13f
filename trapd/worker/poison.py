"""Poison: a task that kills its child process, or its worker, again and again.

With late acknowledgement such a task is delivered anew after each kill. Each kill is written down in the folder that
all workers of this host share, so that a kill of the worker itself counts too: its task table survives, and the next
run of the worker reads it. A task id with as many kills as ``poison_after`` says does not run again when it comes the
next time: it is set aside in the parking queue of its queue, until a person has it tried again or dropped.

Each host counts for itself: one task may kill that number of times on each. Tasks that ran beside it when it killed
the whole worker count as well, because nobody can know which of them it was.

One file for each task id, replaced whole; the folder's time of change tells of news. Only a message that was delivered
before can have killed, so only such a one is worth a stat(2); for all others the folder is looked at once a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trapd import task_table
from trapd.worker.lines import log_line
from trapd.worker.parking import Verdict

AFTER = 3  # kills, where trapd.toml says nothing; as often as trapd itself tries code that crashes
KEPT = 7 * 86400.0  # s after its last kill a task that was not set aside is forgotten
LOOK_EVERY = 1.0  # s, for messages that come for the first time: an id may come anew in another message (a retry)
MOST = 1000  # tasks of which kills are known, and that are told; a machine out of memory kills many
RETRY, DROP = "retry", "drop"
MARK = "poison"  # in the header of a message that was set aside: the host's name

Record = dict[str, Any]  # id, name, kills: list of seconds since the epoch; once set aside: queue, since, pool, order


class Poison:
    """What is known on this host. For any thread. ``limit`` 0: no task is set aside."""

    def __init__(self, folder: Path, pool: str, host: str, limit: int) -> None:
        self._folder, self._pool, self._host, self._limit = folder, pool, host, limit
        self._lock = threading.Lock()
        self._read_at = 0
        self._look_at = 0.0  # monotonic
        self._known: Mapping[str, Record] = {}  # by id; replaced, never changed
        self.ordered = False  # since the last look into the parking queues

    # --- what happens ---

    def recall(self, table: Path) -> None:
        """The task table that an earlier run of this worker has left: what stands there was killed with it."""
        with suppress(OSError, ValueError):
            pid, tasks = task_table.parse(table.read_bytes()[: task_table.MOST])
            for task in tasks if pid != os.getpid() else ():
                self.killed(task.id, task.name)

    def killed(self, id: str, name: str) -> None:
        """A process was killed while it ran this task."""
        with self._lock:
            record = self._load().get(id) or {"id": id, "name": name, "kills": []}
            self._save({**record, "kills": [*record["kills"], time.time()]})

    def parked(self, id: str, name: str, queue: str) -> None:
        """The task is in a parking queue. Also where nothing was known of it, because the folder was removed."""
        with self._lock:
            record = self._load().get(id) or {"id": id, "name": name, "kills": []}
            self._save({**record, "queue": queue, "since": time.time(), "pool": self._pool, "order": None})

    def order(self, id: str, order: str) -> str:
        """Have the task tried again or dropped at the next look into the parking queue. Raises KeyError."""
        with self._lock:
            record = self._load()[id]
            if not record.get("queue"):
                raise KeyError(id)
            self._save({**record, "order": order})
        self.ordered = True
        return "goes back to its queue" if order == RETRY else "is dropped"

    # --- what follows ---

    def is_due(self, id: str, *, again: bool = True) -> bool:
        """Has it killed often enough? ``again``: its message was delivered before."""
        if not self._limit or not self._enough(self._news(at_once=again), id):
            return False
        return again or self._enough(self._news(), id)  # somebody may just have had it tried again

    def _enough(self, known: Mapping[str, Record], id: str) -> bool:
        return id in known and len(known[id]["kills"]) >= self._limit

    def mark(self) -> Record:
        return {MARK: self._host}

    def judge(self, mark: Mapping[str, Any], queue: str) -> Verdict:
        """Of a message that was set aside, on whichever host."""
        if mark[MARK] != self._host:
            return Verdict.STAYS
        record = self._news().get(mark["id"])
        if record is None or not record.get("queue"):
            self.parked(mark["id"], mark["task"], queue)
            return Verdict.STAYS
        if record["order"] not in (RETRY, DROP):
            return Verdict.STAYS
        with self._lock, suppress(OSError):
            self._path(mark["id"]).unlink(missing_ok=True)
        return Verdict.BACK if record["order"] == RETRY else Verdict.DROPPED

    def told(self) -> list[Record]:
        """In plain values, for the report: the tasks of this pool that are set aside."""
        found = [r for r in self._news().values() if r.get("queue") and r["pool"] == self._pool][:MOST]
        return [
            {
                "id": r["id"],
                "task": r["name"],
                "queue": r["queue"],
                "since": r["since"],
                "messages": 1,
                "kills": len(r["kills"]),
            }
            for r in found
        ]

    # --- on disk ---

    def _news(self, *, at_once: bool = True) -> Mapping[str, Record]:
        now = time.monotonic()
        if not at_once and now < self._look_at:
            return self._known
        self._look_at = now + LOOK_EVERY
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            with self._lock:
                self._known, self._read_at = {}, 0
            return self._known
        if changed != self._read_at:
            with self._lock:
                self._known, self._read_at = self._load(), changed
        return self._known

    def _load(self) -> dict[str, Record]:
        found, old = dict[str, Record](), time.time() - KEPT
        with suppress(OSError):
            for path in sorted(self._folder.glob("*.json"))[:MOST]:
                with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
                    record = json.loads(path.read_bytes())
                    if record.get("queue") or record["kills"][-1] > old:
                        found[record["id"]] = record
                    else:
                        path.unlink()
        return found

    def _save(self, record: Record) -> None:
        path = self._path(record["id"])
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            coming = path.with_suffix(f".{os.getpid()}.coming")
            coming.write_text(json.dumps(record))
            coming.rename(path)
            self._read_at, self._look_at = 0, 0.0
        except OSError as error:
            log_line(f"cannot write {path}: {error}; this kill of task {record['id']} does not count", "ERROR")

    def _path(self, id: str) -> Path:
        return self._folder / f"{hashlib.sha256(id.encode()).hexdigest()[:32]}.json"
