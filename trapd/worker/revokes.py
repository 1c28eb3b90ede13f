"""Cancelled stays cancelled: what one worker was told to revoke, its successors know, over a crash and a reboot too.

Celery keeps revokes in the worker's memory. ``celery worker`` learns those of others by mingle, which takes a second at
each start, asks only who answers just then, and forgets stamped headers. Here each run writes them into its account
(account.py) as they come, before anything is done about them; a new worker reads everybody's when its own mailbox is
bound and before its first task: so what was revoked before is in some account, and what comes later is in its mailbox.

Two things make that a matter of moments: on Redis, and with green pools, the mailbox is bound a little after the step
that binds it; and an older worker may be slow to read its own. So the accounts are looked at again a few times.

As in a living worker, and unlike in mingle, no age makes a revoke void: a task may wait for days. The newest
``CELERY_WORKER_REVOKES_MAX`` are kept (50,000), which is Celery's own limit.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterable, Sequence
from typing import Any

from celery import bootsteps
from celery.utils.collections import LimitedSet
from celery.utils.functional import maybe_list
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.control import Panel

from trapd.sizes import counted
from trapd.worker.account import RUN, Account, Entry

log = get_logger("trapd.worker")

REVOKED, STAMPS = "revoked", "stamps"
LOOK_AGAIN = (1.0, 3.0, 10.0, 30.0)  # s after the mailbox was bound
_BY_STAMPS = "revoke_by_stamped_headers"


class Revokes:
    """Keeps ``celery.worker.state`` and the account in step. Runs in the consumer's loop."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._written = 0  # ids, and values of stamps, since the account was begun
        self._unwritten = False  # the account could not be written; it was said

    def install(self) -> None:
        """Listen from now on, to all that Celery's commands, mingle of others and its state file bring."""
        revoked = state.revoked

        def update(ids: Any) -> None:
            ids = ids if isinstance(ids, dict | LimitedSet) else list(ids or ())
            if new := [id for id in ids if id not in revoked]:
                self._note({"kind": REVOKED, REVOKED: new}, len(new))
            LimitedSet.update(revoked, ids)
            self._shorten()

        revoked.update = update
        command = Panel.data[_BY_STAMPS]

        @functools.wraps(command)
        def by_stamps(panel: Any, headers: Any, **options: Any) -> Any:
            pairs = dict(header.split("=")[:2] for header in headers) if isinstance(headers, list) else headers
            stamps = {header: list(maybe_list(values)) for header, values in pairs.items()}
            self._note({"kind": STAMPS, STAMPS: stamps}, sum(map(len, stamps.values())))
            try:
                return command(panel, headers, **options)
            finally:
                self._shorten()

        Panel.data[_BY_STAMPS] = by_stamps

    def take_over(self) -> None:
        """All that was revoked before; then the dead need no files any more."""
        try:
            known = self.look()
            if known or state.revoked or state.revoked_stamps:
                self._begin()
            self._account.tidy((RUN, REVOKED, STAMPS))
        except OSError as error:
            log.error("cannot take over what was revoked before: %s; such tasks may run", error)

    def look(self) -> int:
        """Learn what others have noted since the last look; how much there was. Raises OSError."""
        ids: dict[str, None] = {}
        news = 0
        for entry in self._account.news():
            ids |= dict.fromkeys(map(str, _listed(entry, REVOKED)))
            if entry["kind"] == STAMPS and isinstance(entry.get(STAMPS), dict):
                news += sum(_add_stamps(header, values) for header, values in entry[STAMPS].items())
        fresh = [id for id in ids if id not in state.revoked]
        LimitedSet.update(state.revoked, fresh)  # as of now, by our clock: the oldest first
        if news + len(fresh):
            log.info("%s taken over from other workers", counted(news + len(fresh), "revoke"))
        return news + len(fresh)

    def look_again(self) -> None:
        try:
            self.look()
        except OSError as error:
            log.error("cannot read the revokes of other workers: %s", error)

    def _note(self, said: Entry, weight: int) -> None:
        """A disk that is full must not keep the worker from what it is told."""
        try:
            self._account.add({**said, "wall": time.time()})
            self._written += weight
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                log.error("cannot write down what is revoked: %s; after a recycle such tasks may run", error)
            self._unwritten = True

    def _shorten(self) -> None:
        """What Celery has forgotten itself is not kept for ever."""
        if self._written > 2 * state.REVOKES_MAX:
            self._written = 0
            with contextlib.suppress(OSError):  # what there is still says it all
                self._begin()

    def _begin(self) -> None:
        ids = list(state.revoked)
        stamps = {header: list(maybe_list(values) or ()) for header, values in state.revoked_stamps.items()}
        newest = {header: values[-state.REVOKES_MAX :] for header, values in stamps.items()}
        now = time.time()
        entries: list[Entry] = []
        if ids:
            entries.append({"kind": REVOKED, REVOKED: ids, "wall": now})
        if newest:
            entries.append({"kind": STAMPS, STAMPS: newest, "wall": now})
        self._account.begin(entries)
        self._written = len(ids) + sum(map(len, newest.values()))


def _listed(entry: Entry, kind: str) -> Iterable[Any]:
    found = entry.get(kind) if entry["kind"] == kind else None
    return found if isinstance(found, list) else ()


def _add_stamps(header: str, values: Any) -> int:
    """As the command does, but each value once."""
    known = list(maybe_list(state.revoked_stamps.get(header)) or ())
    seen = set(map(repr, known))
    new = {repr(value): value for value in maybe_list(values) or () if repr(value) not in seen}
    if new:
        state.revoked_stamps[header] = [*known, *new.values()]
    return len(new)


def step(account: Account) -> type[bootsteps.StartStopStep]:
    """The consumer's step that does it: with every connection anew, for revokes were missed while there was none."""
    revokes = Revokes(account)
    revokes.install()

    class TakingOver(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.control:Control",)
        first = True
        timers: Sequence[Any] = ()

        def start(self, consumer: Any) -> None:
            if self.first:
                self.first = False
                revokes.take_over()
            else:
                revokes.look_again()
            # Without a hub the timer is a thread of its own; only the loop may touch Celery's state.
            look = revokes.look_again if consumer.hub else lambda: consumer.call_soon(revokes.look_again)
            self.timers = [consumer.timer.call_after(seconds, look) for seconds in LOOK_AGAIN]

        def stop(self, consumer: Any) -> None:
            for timer in self.timers:
                consumer.timer.cancel(timer)
            self.timers = ()

        shutdown = stop

    return TakingOver
