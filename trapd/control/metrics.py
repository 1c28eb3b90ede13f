"""`metrics`, and the file that node_exporter reads: figures of the state, of events and of the workers' accounts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from trapd import atomic
from trapd.contracts import History
from trapd.control import documents, requests
from trapd.control.drains import waits
from trapd.control.exposition import text
from trapd.control.handlers import Call
from trapd.control.needs import Context
from trapd.control.protocol import SCHEMA
from trapd.control.status import status
from trapd.control.tasks import described_aside, of_all_workers
from trapd.masking import mask
from trapd.spec import Metrics

log = logging.getLogger("trapd.metrics")
_PAGE = 500  # events that are counted in one go


class EventCounts:
    """How many events of each kind and pool were recorded since trapd started."""

    def __init__(self, history: History) -> None:
        latest = history.events(limit=1)
        self._history, self._cursor = history, latest[-1].id if latest else 0
        self._counts: Counter[tuple[str, str]] = Counter()

    def now(self) -> Mapping[tuple[str, str], int]:
        """Raises HistoryError."""
        while page := self._history.events(since=self._cursor, limit=_PAGE):
            self._counts.update((event.kind.value, event.pool or "") for event in page)
            self._cursor = page[-1].id
        return self._counts


async def exposition(context: Context, *, older: bool = False) -> str:
    """Return all metrics as text, see ``exposition.text``. Raises HistoryError."""
    controller = context.controller
    views, memory, troubles = await asyncio.gather(controller.look(), controller.memory(), context.about.troubles())
    document = status(context, views, memory, troubles, await waits(context, views))
    if context.counts is None:
        counts: Mapping[tuple[str, str], int] = {}
    else:
        counts = context.counts.now()
    aside = [one for view in views for one in described_aside(view)]
    workers = await of_all_workers(context, views)
    return mask(text(document, workers, counts, context.clock.wall(), aside, older=older))


async def metrics(call: Call[requests.Nothing]) -> documents.Metrics:
    """Show the metrics that docs/metrics.md lists, in the text format of OpenMetrics. Each worker is asked for its own
    account of its tasks."""
    return {"schema": SCHEMA, "text": await exposition(call.context)}


class Textfile:
    """Writes the metrics to a file for node_exporter at each change, once in ``every`` seconds at most.

    ``trouble``: why it cannot."""

    def __init__(self, context: Callable[[], Context], settings: Metrics) -> None:
        self.settings, self.trouble = settings, ""
        self._context = context

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._context().controller.changed()  # taken before the look
            if self.settings.textfile is None:
                self.trouble = ""
            else:
                await self._write(Path(self.settings.textfile))
                await asyncio.sleep(self.settings.every)
            await asyncio.wait([changed])  # everybody's: not to be cancelled with us

    async def _write(self, path: Path) -> None:
        content = await exposition(self._context(), older=True)
        try:
            await asyncio.to_thread(atomic.write, path, content, mode=0o644, lasting=False)
        except OSError as error:
            trouble = f"cannot write [metrics] textfile {path}: {(error.strerror or str(error)).lower()}"
        else:
            trouble = ""
        if trouble != self.trouble:
            self.trouble = trouble
            self._context().controller.notify()
