"""trapctl's end of the control socket: blocking, and quick to start (no asyncio)."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from trapd.access import closed
from trapd.control.methods import Answer, Question
from trapd.control.protocol import (
    SCHEMA,
    Code,
    Failed,
    Progress,
    ProtocolError,
    Request,
    Result,
    format_request,
    parse_answer,
)
from trapd.ctl.absent import Hints
from trapd.errors import TrapdError

LOOKING = 10.0  # s that an answer to a question may take
_LONGEST_POLL = 86400.0  # s; poll(2) takes an int of milliseconds, which is 24.8 days
CHANGING = 120.0  # s that a change may take: a recycle copies a whole snapshot before it answers


class UnreachableError(TrapdError):
    """No process answers at the socket. ``absent``: trapd certainly does not run; else it may be slow, or may not be
    asked by this user."""

    def __init__(self, message: str, *, absent: bool) -> None:
        super().__init__(message)
        self.absent = absent


class AnswerError(TrapdError):
    """trapd answered with an error."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.code, self.data = failed.code, failed.data


class Client:
    """One connection; use it as a context manager. ``hints``: the commands to show if trapd does not answer."""

    def __init__(self, path: Path, hints: Hints | None = None) -> None:
        self.path, self._hints = path, hints or Hints()
        self._socket: socket.socket | None = None
        self._read = b""
        self._ids = itertools.count(1)

    def __enter__(self) -> Self:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(LOOKING)
        try:
            connection.connect(str(self.path))
        except OSError as error:
            connection.close()
            raise self._cannot_connect(error) from None
        self._socket = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def ask(self, question: Question[Answer], *, patience: float = LOOKING) -> Answer:
        """Send one command and return its answer. Raises AnswerError if trapd answers with an error, UnreachableError
        if no answer comes within ``patience`` seconds."""
        id = self.send(question)
        deadline = time.monotonic() + patience
        while True:
            match self.receive(deadline):
                case Result(answered, dict(value)) if answered == id:
                    return cast(Answer, value)  # ``receive`` has compared the schema
                case Failed(answered, code=Code.UNKNOWN_METHOD) if answered == id:
                    raise self._older(f"it does not know {question.method}")
                case Failed(answered) as failed if answered in (id, None):
                    raise AnswerError(failed)

    def send(self, question: Question[Answer]) -> int:
        """Send one command and return the request's id; parameters that are None are left out."""
        id = next(self._ids)
        given = {name: value for name, value in question.params.items() if value is not None}
        try:
            self._open().settimeout(LOOKING)
            self._open().sendall(format_request(Request(question.method, given, id)))
        except (BrokenPipeError, ConnectionResetError):
            return id  # trapd has closed the connection; it may have sent the reason before
        except OSError as error:
            raise self._lost(error) from None
        return id

    def receive(self, deadline: float | None) -> Progress | Result | Failed:
        """Return the next message, of whatever request. ``deadline``: of CLOCK_MONOTONIC; None waits for ever."""
        while b"\n" not in self._read:
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            try:
                self._open().settimeout(left if left is None else min(left, _LONGEST_POLL))
                more = self._open().recv(1 << 16)
            except TimeoutError:
                if left is not None and left > _LONGEST_POLL:
                    continue
                raise self._silent() from None
            except OSError as error:
                raise self._lost(error) from None
            if not more:
                raise self._lost(None)
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        try:
            answer = parse_answer(line)
        except ProtocolError as error:
            raise UnreachableError(f"cannot understand what answers at {self.path}: {error}", absent=False) from None
        match answer:
            case Result(value={"schema": int(other)}) if other < SCHEMA:
                raise self._older(f"its answers have schema {other}, not {SCHEMA}")
            case Result(value={"schema": other}) if other != SCHEMA:
                raise UnreachableError(
                    f"cannot understand what answers at {self.path}: its answers have schema {other}, and this trapctl"
                    f" knows {SCHEMA}; use the trapctl that came with that trapd",
                    absent=False,
                )
        return answer

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise UnreachableError(f"cannot ask at {self.path}: not connected", absent=True)
        return self._socket

    def _cannot_connect(self, error: OSError) -> UnreachableError:
        what, absent = _WHY.get(error.errno or 0, (f"{error.strerror or error}; see trapd's log", False))
        if error.errno in _NOBODY:
            what, absent = self._no_listener(what)
        elif error.errno == errno.EACCES and (shut := closed(self.path)):
            what = f"{shut.reason}; {shut.remedy}"
        return UnreachableError(f"cannot reach trapd at {self.path}: {what}", absent=absent)

    def _no_listener(self, what: str) -> tuple[str, bool]:
        """If trapd runs all the same, it has just been started, or its socket was removed."""
        pid = self._hints.running()
        if pid is None:
            return f"{what}; {self._hints.start}", True
        reload = self._hints.reload.format(pid=pid)
        return (
            f"{what}, though trapd runs (pid {pid}): it starts, or its socket was removed; try again, then {reload}",
            False,
        )

    def _older(self, how: str) -> UnreachableError:
        """An upgrade has replaced the trapctl that came with the running trapd, so a restart is the only remedy."""
        return UnreachableError(
            f"cannot understand the trapd at {self.path}: it is older than this trapctl ({how}), because it was not"
            " restarted after an upgrade; restart it",
            absent=False,
        )

    def _silent(self) -> UnreachableError:
        return UnreachableError(f"cannot reach trapd at {self.path}: no answer in time; see its log", absent=False)

    def _lost(self, error: OSError | None) -> UnreachableError:
        what = error.strerror if error and error.strerror else "it closed the connection"
        return UnreachableError(f"cannot reach trapd at {self.path} any more: {what}; see its log", absent=False)


_NOBODY = (errno.ENOENT, errno.ECONNREFUSED)
_WHY: Mapping[int, tuple[str, bool]] = {
    errno.ENOENT: ("no such socket", True),
    errno.ECONNREFUSED: ("no process listens there any more", True),
    errno.ENOTDIR: ("that is no place for a socket; see --socket, and runtime_directory in trapd.toml", True),
    errno.ENOTSOCK: ("that is not a socket; see --socket, and runtime_directory in trapd.toml", True),
    errno.EACCES: ("permission denied; look at the rights of that folder", False),
    errno.EAGAIN: ("it is too busy to answer; try again", False),
}
