"""The holder of pins: keeps the connection, answers trapd's questions, and takes them up again after a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from trapd.control import methods
from trapd.control.protocol import Failed, Progress, Result
from trapd.ctl.client import AnswerError, Client, UnreachableError

if TYPE_CHECKING:
    from trapd.control import documents

_TRY_AGAIN = 0.5  # s


class Holder:
    """``begin``, then ``keep`` as long as the run goes on, then ``end``. ``tell`` puts a sentence before the user."""

    def __init__(self, connect: Callable[[], Client], tell: Callable[[str], None]) -> None:
        self._connect, self._tell = connect, tell
        self._client = connect()
        self._held: dict[str, documents.PinProgress] = {}  # by pool
        self._id = 0  # of the request
        self._lost = ""
        self._ended = threading.Event()

    def begin(self, pools: Sequence[str], reason: str) -> Mapping[str, documents.PinProgress]:
        """Return when the code of all these pools is held, by pool and in this order; none: of the only pool.

        Raises AnswerError if it cannot be, UnreachableError if trapd is not there.
        """
        self._client.__enter__()
        names = list(dict.fromkeys(pools))
        self._id = self._client.send(methods.PIN({"pools": names or None, "reason": reason, "pins": None}))
        while len(self._held) < max(1, len(names)):
            match self._client.receive(None):
                case Progress(_, params):
                    progress = cast("documents.PinProgress", params)
                    if progress["pin"] is None:
                        self._tell(progress["message"])
                    else:
                        self._held[progress["pool"]] = progress
                        self._answer(progress)
                case Failed(answered) as failed if answered in (self._id, None):
                    raise AnswerError(failed)
        return self._held

    def keep(self) -> None:
        """Hold on in a thread of its own, which ends with the process."""
        threading.Thread(target=self._keep, name="holder", daemon=True).start()

    def end(self) -> str:
        """Let go. Returns why the code was not held until now; empty if it was."""
        self._ended.set()
        return self._lost

    def _keep(self) -> None:
        away = False
        while not self._ended.is_set():
            try:
                if away:
                    self._take_up()
                lost = self._listen(away)
            except UnreachableError:
                if not away and not self._ended.is_set():
                    self._tell("trapd does not answer; the pin is taken up again when it is back")
                away = True
                time.sleep(_TRY_AGAIN)
                continue
            self._lost = lost
            self._tell(f"{lost}; the command goes on, and may meet other code from now on")
            return

    def _take_up(self) -> None:
        self._client.__exit__(None, None, None)
        self._client = self._connect()
        self._client.__enter__()
        pins = [held["pin"] or "" for held in self._held.values()]
        self._id = self._client.send(methods.PIN({"pools": list(self._held), "reason": "", "pins": pins}))

    def _listen(self, away: bool) -> str:
        """Return why the pin has ended."""
        while True:
            match self._client.receive(None):
                case Progress(_, params):
                    if away:
                        self._tell("trapd is back, and the pin is taken up again")
                        away = False
                    self._answer(cast("documents.PinProgress", params))
                case Result(answered, dict(value)) if answered == self._id:
                    return f"the pin of pool {value['pool']} is over: {value['message']}"
                case Failed(answered) as failed if answered in (self._id, None):
                    return failed.message

    def _answer(self, progress: documents.PinProgress) -> None:
        if progress["pin"] is not None:
            self._client.send(methods.PIN_KEEP({"pin": progress["pin"]}))


def different(held: Mapping[str, documents.PinProgress]) -> str:
    """That these pools are on different code; empty if they are not."""
    if len({progress["digest"] for progress in held.values()}) < 2:
        return ""
    generations = ", ".join(f"{name} on generation {progress['generation']}" for name, progress in held.items())
    return f"these pools are on different code: {generations}"
