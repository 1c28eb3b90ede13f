"""Tasks for workers to which something is done, and what became of each, from the tasks' own ledger."""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from amqp.exceptions import AMQPError
from celery.exceptions import OperationalError

from tests.support.sample import NAP, Entry
from tests.upgrades.stage import Tasks, wait_for

PACE = 0.15  # s between two tasks
NAPS = (0.02,) * 9 + (2.5,)  # s that the tasks take, in turn
PATIENCE = 180.0  # s
ON_ITS_WAY = 1.0  # s that an acknowledgement takes to the broker, at most


@dataclass
class Work(Tasks):
    """Tasks at a steady pace, from ``with`` to its end. ``sent``: those that the broker has confirmed.

    ``excuse`` names a process that was killed: what it had begun is lost, because it is acknowledged as it begins; or
    runs again, if the process was killed in the milliseconds between the two, as with plain Celery. ``cutting`` tells
    of connections that are cut: what had just begun may run again, for its acknowledgement may have been on its way.
    """

    _excused_pids: set[int] = field(default_factory=set)
    _cuts: list[tuple[float, float]] = field(default_factory=list)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def give(self, count: int, seconds: float) -> None:
        """Send so many tasks that take so long, and wait until they run."""
        ids = {str(uuid.uuid4()) for _ in range(count)}
        with self.broker.app() as app:
            for id in ids:
                app.send_task(NAP, (seconds, str(self.ledger)), task_id=id, ignore_result=True)
        self.sent += ids
        wait_for(f"start of {count} tasks", lambda: ids <= {entry.id for entry in self.entries()}, PATIENCE)

    def excuse(self, pid: int) -> None:
        """A main process, or a child, that is killed."""
        self._excused_pids.add(pid)

    @contextlib.contextmanager
    def cutting(self) -> Iterator[None]:
        """While this lasts, connections to the broker are cut."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._cuts.append((began - ON_ITS_WAY, time.monotonic()))

    def wait_until_done(self) -> None:
        """Until every task that was sent up to now has ended or is excused; then none may have run twice."""
        asked = list(self.sent)
        try:
            wait_for("end of all tasks", lambda: not self._left(asked), PATIENCE)
        except AssertionError as error:
            error.add_note(f"lost, or still waiting: {self._left(asked)}")
            raise
        starts = Counter(entry.id for entry in self.entries() if entry.event == "start" and not self._may_again(entry))
        twice = [id for id, count in starts.items() if count > 1]
        assert not twice, f"ran twice: {[entry for entry in self.entries() if entry.id in twice]}"
        mixed = [entry for entry in self.ended() if entry.lazy != entry.version]
        assert not mixed, f"ran on two versions of the code: {mixed}"

    def _left(self, asked: list[str]) -> list[str]:
        over = {entry.id for entry in self.entries() if entry.event == "end" or self._excused(entry)}
        return [id for id in asked if id not in over]

    def _may_again(self, entry: Entry) -> bool:
        """Is this a start after which the broker may not have heard of it?"""
        return self._excused(entry) or any(began <= entry.at <= ended for began, ended in self._cuts)

    def _excused(self, entry: Entry) -> bool:
        return bool({entry.pid, entry.main} & self._excused_pids)

    def _send(self) -> None:
        with self.broker.app() as app:
            if self.broker.kind == "rabbitmq":  # else what is sent into a connection that is being cut is lost unseen
                app.conf.broker_transport_options = {"confirm_publish": True}
            for seconds in itertools.cycle(NAPS):
                if self._stop.wait(PACE):
                    return
                # it may have arrived, or not: a second try would run it twice
                with contextlib.suppress(OperationalError, OSError, AMQPError):
                    sent = app.send_task(NAP, (seconds, str(self.ledger)), ignore_result=True, retry=False)
                    self.sent.append(sent.id)
