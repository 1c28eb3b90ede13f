"""Wait for rollouts, and until what is installed serves, and follow the history: over a restart of trapd, and for the
rollout that supersedes an awaited rollout."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from trapd.control import methods
from trapd.control.protocol import Code, Failed, Progress, Result
from trapd.ctl.client import LOOKING, AnswerError, Client, UnreachableError

if TYPE_CHECKING:
    from trapd.control import documents

AWAY = 15.0  # s that trapd may be gone for during a wait: an upgrade of trapd itself takes a few
_TRY_AGAIN = 0.5  # s
_Answer = TypeVar("_Answer")


class Show(Protocol):
    def progress(self, progress: documents.Progress) -> None: ...
    def note(self, text: str) -> None: ...


def connected(
    connect: Callable[[], Client],
    note: Callable[[str], None],
    listen: Callable[[Client], _Answer],
    until: float = math.inf,
) -> _Answer:
    """Call ``listen``, and again with a fresh connection when trapd was away. Raises UnreachableError if trapd does not
    come back, or has taken the connection and has not answered ``until`` then (of CLOCK_MONOTONIC)."""
    gone_at: float | None = None
    while True:
        opened = False
        try:
            with connect() as client:
                gone_at, opened = None, True
                return listen(client)
        except UnreachableError:
            if opened and time.monotonic() >= until:  # the kernel opens connections of a trapd that is stopped, too
                raise
            if gone_at is None:
                gone_at = time.monotonic()
                note("trapd does not answer; waiting for it to come back ...")
            if time.monotonic() - gone_at > AWAY:
                raise
            time.sleep(_TRY_AGAIN)


class Following:
    """Follows the history; ``note`` gets what users should know."""

    def __init__(self, connect: Callable[[], Client], note: Callable[[str], None]) -> None:
        self._connect, self._note = connect, note

    def events(self, pool: str | None, since: int, take: Callable[[documents.Event], None]) -> None:
        """Give ``take`` each event after ``since`` once, in order, until Ctrl-C. Raises AnswerError, and
        UnreachableError if trapd does not come back."""
        cursor = since

        def listen(client: Client) -> None:
            nonlocal cursor
            client.send(methods.FOLLOW({"pool": pool, "since": cursor}))
            while True:
                match client.receive(None):
                    case Progress(_, params):
                        members = {name: value for name, value in params.items() if name != "request"}
                        event = cast("documents.Event", members)
                        take(event)
                        cursor = event["id"]
                    case Failed() as failed:
                        raise AnswerError(failed)

        connected(self._connect, self._note, listen)


class Waiting:
    """One wait, for any number of rollouts at the same time; ``timeout`` in seconds, None: as long as it takes."""

    def __init__(self, connect: Callable[[], Client], show: Show, timeout: float | None) -> None:
        self._connect, self._show = connect, show
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pending: list[int] = []
        self._ended: list[documents.Waited] = []

    def wait(self, rollouts: Iterable[int]) -> list[documents.Waited]:
        """Return the last progress of each rollout when all are over; the successor of a superseded one replaces it.

        Raises AnswerError with code 75 when the timeout is over, UnreachableError if trapd does not come back.
        """
        self._pending = list(rollouts)
        if self._pending:
            connected(self._connect, self._show.note, self._follow, self._until())
        return self._ended

    def installed(self, pools: Sequence[str]) -> documents.RolloutStatus:
        """Return the answer of ``rollout.status`` when each pool serves what is installed then, or has refused it.

        Raises as ``wait`` does.
        """
        return connected(self._connect, self._show.note, lambda client: self._settle(client, pools), self._until())

    def _settle(self, client: Client, pools: Sequence[str]) -> documents.RolloutStatus:
        id = client.send(methods.ROLLOUT_STATUS({"pools": list(pools), "wait": True, "timeout": self._left()}))
        while True:
            match self._receive(client):
                case Progress(_, {"rollout": dict()} as params):
                    self._show.progress(cast("documents.Progress", params))
                case Progress(_, params):
                    standing = cast("documents.Installed", params)
                    if standing["state"] == "awaited":  # what it came to is told at the end
                        self._show.note(standing["message"])
                case Result(answered, dict(value)) if answered == id:
                    return cast("documents.RolloutStatus", value)
                case Failed() as failed:
                    raise AnswerError(failed)

    def _receive(self, client: Client) -> Progress | Result | Failed:
        return client.receive(None if self._deadline is None else self._until())

    def _until(self) -> float:
        return math.inf if self._deadline is None else self._deadline + LOOKING

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, round(self._deadline - time.monotonic(), 3))

    def _follow(self, client: Client) -> None:
        requests = {self._request(client, rollout): rollout for rollout in self._pending}
        while requests:
            match self._receive(client):
                case Progress(_, params):
                    self._show.progress(cast("documents.Progress", params))
                case Result(int(id), dict(value)) if id in requests:
                    rollout = requests.pop(id)
                    self._pending.remove(rollout)
                    if (successor := self._over(cast("documents.Waited", value))) is not None:
                        self._pending.append(successor)
                        requests[self._request(client, successor)] = successor
                case Failed(code=Code.USAGE) as failed:  # trapctl chose the number, so the user's usage was not wrong
                    raise AnswerError(replace(failed, code=Code.REFUSED))
                case Failed() as failed:
                    raise AnswerError(failed)

    def _request(self, client: Client, rollout: int) -> int:
        return client.send(methods.ROLLOUT_WAIT({"id": rollout, "timeout": self._left()}))

    def _over(self, value: documents.Waited) -> int | None:
        """Keep the result, or return the rollout that superseded this one."""
        rollout, successor = value["rollout"], value["superseded_by"]
        if rollout["state"] == "superseded" and successor is not None:
            self._show.note(f"pool {value['pool']}: rollout {successor} took over from {rollout['id']}; waiting for it")
            return successor
        self._ended.append(value)
        return None
