"""kombu's filesystem transport, in which a message comes and goes whole. What workers use for ``filesystem://``.

kombu 5.7 writes a message in two steps: it makes the file, and then it writes into it. A kombu that reads in between
takes the empty file away, loses the task, and its worker dies of it (celery/kombu#1551; 2 of 2,300 messages). It also
takes by moving to the temporary folder; where that is another file system (a container's volume, PrivateTmp) moving is
copying, which two workers can do at once.

Here a message is read first, and taken, in one step, only if it is whole. So producers may be anybody's: a half message
is left for the next look. One that stays half, as of a producer that was killed, is set aside, and the log says so.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from queue import Empty
from typing import Any

from celery.utils.log import get_logger
from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, _transport_cache, filesystem
from kombu.utils import json

from trapd import atomic

log = get_logger("trapd.worker")

HALF_FOR = 60.0  # s; a producer that is alive writes on at once
TABLE_PATIENCE = 1.0  # s
_NAME = "filesystem"
_BEFORE_THE_BOOT = 2**63


def install() -> None:
    """From now on ``filesystem://`` is this, in this process."""
    TRANSPORT_ALIASES[_NAME] = f"{__name__}:Transport"
    _transport_cache.pop(_NAME, None)  # kombu remembers the class that this process used before


def make_table(file: Path) -> None:
    """An exchange's table of bindings, empty, in one step; nothing where there is one.

    kombu opens a new one, emptied, and then writes: of two that do so at the same time, one empties the other's.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{uuid.uuid4()}")
    fresh.write_text("[]")
    with suppress(FileExistsError):
        os.link(fresh, file)
    fresh.unlink()


_Channel: Any = filesystem.Channel  # kombu has types here and there
_Transport: Any = filesystem.Transport
_json: Any = json


class Channel(_Channel):  # type: ignore[misc]
    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        milliseconds, rest = divmod(time.monotonic_ns(), 1_000_000)  # the first as kombu has it: one order for all
        whole = Path(self.data_folder_out, f"{milliseconds}_{rest:06}-{uuid.uuid4()}.{queue}.msg")
        try:
            atomic.write(whole, _json.dumps(payload), lasting=False)  # kombu, too, leaves it to the kernel
        except OSError as error:
            raise ChannelError(f"cannot write the message {whole}: {error}") from error

    def _get(self, queue: str) -> Any:
        for path in self._waiting(queue):
            try:
                payload = _read(path)
                if payload is not None:
                    self._take(path)
                    return payload
                _set_aside_if_old(path)
            except FileNotFoundError:  # another worker was quicker
                continue
            except OSError as error:  # no descriptors left, or somebody else's file: it may be whole all the same
                _say_once(path, str(error.strerror or error).lower())
        raise Empty

    def _waiting(self, queue: str) -> list[Path]:
        """In the order in which they were sent: kombu's names begin with the milliseconds since the boot."""
        wanted, now = f"{queue}.msg", time.monotonic() * 1000 + 1
        found = []
        for name in os.listdir(self.data_folder_in):  # noqa: PTH208  Path.iterdir makes a path of each
            start, _, rest = name.partition(".")
            if rest == wanted:
                stamp = start.partition("_")[0]
                at = int(stamp) if stamp.isdecimal() else 0
                found.append((at if at <= now else at - _BEFORE_THE_BOOT, name))
        return [Path(self.data_folder_in, name) for _, name in sorted(found)]

    def _take(self, path: Path) -> None:
        """Raises FileNotFoundError if somebody else was quicker."""
        if self.store_processed:
            shutil.move(path, self.processed_folder)
        else:
            path.unlink()

    def get_table(self, exchange: str) -> Any:
        """What another process writes just now is looked at again."""
        deadline = time.monotonic() + TABLE_PATIENCE
        while True:
            try:
                return super().get_table(exchange)
            except ValueError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        make_table(Path(self.control_folder, f"{exchange}.exchange"))
        super()._queue_bind(exchange, *binding)


class Transport(_Transport):  # type: ignore[misc]
    Channel = Channel


def _read(path: Path) -> Mapping[str, Any] | None:
    """The message; None if it is not whole. No part of a JSON object is one. Raises OSError."""
    with suppress(ValueError):
        payload = _json.loads(path.read_bytes())
        if isinstance(payload, dict):
            return payload
    return None


@lru_cache(maxsize=1000)
def _say_once(path: Path, why: str) -> None:
    log.error("cannot take the message %s: %s; it stays where it is and is tried again", path, why)


def _set_aside_if_old(path: Path) -> None:
    if time.time() - path.stat().st_mtime >= HALF_FOR:
        aside = path.with_name(f".{path.name}.half")
        path.rename(aside)
        log.error("a message is still not whole %g s after its last change; set aside as %s", HALF_FOR, aside)
