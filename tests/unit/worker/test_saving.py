"""When beat's schedule is in its file: after each ``sync`` of Celery's scheduler, whatever kind of dbm keeps it."""

from __future__ import annotations

import dbm.dumb
import shelve
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.beat import PersistentScheduler

from trapd.worker.beating import saving


class OnClose(MutableMapping[bytes, bytes]):
    """As dbm.ndbm: it has no ``sync``, and writes when it is closed."""

    def __init__(self, file: str) -> None:
        self._file, self._kept = file, dict[bytes, bytes]()
        with dbm.dumb.open(file) as before:
            self._kept.update(before.items())  # type: ignore[arg-type]

    def __getitem__(self, key: bytes) -> bytes:
        return self._kept[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._kept[key] = value

    def __delitem__(self, key: bytes) -> None:
        del self._kept[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        with dbm.dumb.open(self._file, "n") as now:
            for key, value in self._kept.items():
                now[key] = value


class Kinds:
    """What Celery's scheduler takes ``shelve`` for."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def open(self, file: str, *, writeback: bool) -> shelve.Shelf[Any]:
        return shelve.Shelf(self._kind(file), writeback=writeback)


@pytest.mark.parametrize("kind", [OnClose, dbm.dumb.open])
def test_what_was_sent_is_in_the_file_after_each_sync(tmp_path: Path, kind: Any) -> None:
    app = Celery("shipyard", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"nap": {"task": "shipyard.nap", "schedule": 0.0}}
    file = str(tmp_path / "schedule")

    class OnThis(PersistentScheduler):  # type: ignore[misc]
        persistence = Kinds(kind)

    def sent() -> int:
        with Kinds(kind).open(file, writeback=False) as kept:
            return int(kept["entries"]["nap"].total_run_count)

    scheduler = OnThis(app, schedule_filename=file)
    scheduler.sync = saving(scheduler, scheduler.sync)
    for count in (1, 2, 3):
        scheduler.reserve(scheduler.schedule["nap"])
        scheduler.sync()
        assert sent() == count
    scheduler.close()
    assert sent() == 3
