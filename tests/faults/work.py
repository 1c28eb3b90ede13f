"""Tasks for workers to which something is done, and what became of each, from the tasks' own ledger."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from celery.exceptions import OperationalError

from tests.support.brokers import Broker
from tests.support.sample import NAP, Entry, parse_ledger

PACE = 0.15  # s between two tasks
NAPS = (0.02,) * 9 + (2.5,)  # s that the tasks take, in turn
PATIENCE = 90.0  # s


@dataclass
class Work:
    """Tasks at a steady pace, from ``with`` to its end.

    ``excuse`` names a process that was killed: what it had begun is lost, because it was acknowledged before it began.
    """

    broker: Broker
    ledger: Path
    sent: list[str] = field(default_factory=list)  # the broker has confirmed each
    doubtful: set[str] = field(default_factory=set)  # the submitter got an error: it may have arrived, or not
    _excused_pids: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="work")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def give(self, count: int, seconds: float) -> None:
        """Send so many tasks that take so long, and wait until they run."""
        ids = {str(uuid.uuid4()) for _ in range(count)}
        with self.broker.app() as app:
            for id in ids:
                app.send_task(NAP, (seconds, str(self.ledger)), task_id=id, ignore_result=True)
        self.sent += ids
        deadline = time.monotonic() + PATIENCE
        while not ids <= {entry.id for entry in self.entries()}:
            assert time.monotonic() < deadline, f"{count} tasks do not begin"
            time.sleep(0.05)

    def excuse(self, pid: int) -> None:
        """A main process, or a child, that is killed."""
        self._excused_pids.add(pid)

    def entries(self) -> list[Entry]:
        """What the tasks have written."""
        if not self.ledger.exists():
            return []
        whole, _, _ = self.ledger.read_bytes().rpartition(b"\n")
        return parse_ledger(whole.decode())

    def running(self) -> list[Entry]:
        """The tasks that have begun and not ended, without those of killed processes."""
        entries = self.entries()
        ended = {entry.id for entry in entries if entry.event == "end"}
        return [entry for entry in entries if entry.id not in ended and not self._excused(entry)]

    def wait_until_done(self) -> None:
        """Until every task that was sent up to now has ended or is excused; then none may have run twice."""
        asked, deadline = list(self.sent), time.monotonic() + PATIENCE
        while left := self._left(asked):
            assert time.monotonic() < deadline, f"lost, or still waiting after {PATIENCE:g} s: {left}"
            time.sleep(0.2)
        starts = Counter(entry.id for entry in self.entries() if entry.event == "start")
        twice = [id for id, count in starts.items() if count > 1]
        assert not twice, f"ran twice: {[entry for entry in self.entries() if entry.id in twice]}"
        mixed = [entry for entry in self.entries() if entry.event == "end" and entry.lazy != entry.version]
        assert not mixed, f"ran on two versions of the code: {mixed}"

    def _left(self, asked: list[str]) -> list[str]:
        entries = self.entries()
        over = {entry.id for entry in entries if entry.event == "end" or self._excused(entry)}
        return [id for id in asked if id not in over]

    def _excused(self, entry: Entry) -> bool:
        return bool({entry.pid, entry.main} & self._excused_pids)

    def _send(self) -> None:
        with self.broker.app() as app:
            for seconds in itertools.cycle(NAPS):
                if self._stop.wait(PACE):
                    return
                id = str(uuid.uuid4())
                self.doubtful.add(id)
                with contextlib.suppress(OperationalError, OSError):
                    app.send_task(NAP, (seconds, str(self.ledger)), task_id=id, ignore_result=True)
                    self.doubtful.discard(id)
                    self.sent.append(id)
