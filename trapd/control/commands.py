"""THE table: every command, who may give it, what it takes, and the trapctl verb that gives it.

There is no other way in. docs/protocol.md has a paragraph for each row, and a test compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trapd.contracts import Clock
from trapd.control import handlers
from trapd.control.handlers import Call, Document
from trapd.control.needs import About, Controller, Desk
from trapd.control.protocol import MOST_LINES, Code, ProtocolError, Request
from trapd.errors import NotPermittedError
from trapd.masking import masked

_LONGEST_TEXT = 1000  # characters; a reason is a sentence
_LARGEST = 2**53  # beyond it not every JSON reader has exact numbers


class Access(StrEnum):
    READ = "read"  # everybody who reaches the socket
    ADMIN = "admin"  # root, trapd's own user, group trapd


class Kind(StrEnum):
    TEXT = f"text of at most {_LONGEST_TEXT} characters"
    TEXTS = "list of texts"
    NUMBER = "whole number"
    SECONDS = "number of seconds"


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    kind: Kind
    doc: str
    required: bool = False
    default: Any = None
    most: int = _LARGEST


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    access: Access
    handler: Callable[[Call], Coroutine[Any, Any, Document]]
    verb: str
    doc: str
    params: tuple[Param, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a name for history, and whether they may change anything."""

    actor: str
    admin: bool


_POOLS = Param("pools", Kind.TEXTS, "pools by name; all if empty", default=())
_POOL = Param("pool", Kind.TEXT, "a pool's name", required=True)
_ONE = Param("pool", Kind.TEXT, "only this pool")
_LIMIT = Param("limit", Kind.NUMBER, "at most so many, the latest", default=20, most=MOST_LINES)
_REASON = Param("reason", Kind.TEXT, "one line for history: why", default="")
_ID = Param("id", Kind.NUMBER, "the rollout's number", required=True)
_TIMEOUT = Param("timeout", Kind.SECONDS, "give up waiting after so long; never if null")
_WORKERS = Param("workers", Kind.TEXT, "N, +N or -N", required=True)
_SUBJECT = Param("subject", Kind.TEXT, "a pool, a rollout's number or a worker such as default@7-1", required=True)
_ROLLOUT = Param("rollout", Kind.NUMBER, "only this rollout")

_R, _A = Access.READ, Access.ADMIN
TABLE: tuple[Command, ...] = (
    Command("ping", _R, handlers.ping, "status", "Who answers: version, pid, protocol"),
    Command("status", _R, handlers.show_status, "status", "What runs, against what should: schema 1"),
    Command("recycle", _A, handlers.recycle, "recycle", "Replace every worker, gracefully", (_POOLS, _REASON)),
    Command("retry", _A, handlers.retry, "retry", "Try refused code again", (_POOLS,)),
    Command("rollout.status", _R, handlers.rollout_status, "rollout status", "How far the latest is", (_POOLS,)),
    Command("rollout.wait", _R, handlers.rollout_wait, "rollout status", "Wait until it is over", (_ID, _TIMEOUT)),
    Command("rollout.pause", _A, handlers.pause, "rollout pause", "Move nothing until resumed", (_POOL,)),
    Command("rollout.resume", _A, handlers.resume, "rollout resume", "Go on", (_POOL,)),
    Command("rollout.undo", _A, handlers.undo, "rollout undo", "Back to the good code before", (_POOL,)),
    Command("rollout.history", _R, handlers.history, "rollout history", "Past rollouts, newest first", (_ONE, _LIMIT)),
    Command("generations", _R, handlers.generations, "generations", "The generations kept, newest first"),
    Command("scale", _A, handlers.scale, "scale", "Want more or fewer workers", (_POOL, _WORKERS)),
    Command("plan", _R, handlers.plan, "plan", "What would be done now; nothing is done", (_POOLS,)),
    Command("why", _R, handlers.explain, "why", "The chain from trigger to now", (_SUBJECT,)),
    Command("events", _R, handlers.events, "events", "The tail of history, oldest first", (_ONE, _ROLLOUT, _LIMIT)),
)
COMMANDS: Mapping[str, Command] = {command.name: command for command in TABLE}


class Commands:
    """The table at work. Owns nothing; any number of calls may be under way."""

    def __init__(self, controller: Controller, *, about: About, clock: Clock) -> None:
        self._desk = Desk(about, controller, clock)
        self._changes: set[asyncio.Task[Document]] = set()

    async def call(self, request: Request, caller: Caller, report: Callable[[Document], Awaitable[None]]) -> Document:
        """Carry out one request; passwords in what comes out are masked.

        Raises ProtocolError (no such command, wrong params), NotPermittedError, StillGoingError, or another TrapdError
        for what cannot be done.
        """
        command = COMMANDS.get(request.method)
        if command is None:
            raise ProtocolError(Code.UNKNOWN_METHOD, f"cannot do {request.method[:60]!r}: no such command", request.id)
        if command.access is Access.ADMIN and not caller.admin:
            raise NotPermittedError(
                f"cannot run trapctl {command.verb}: {caller.actor} may only look; run it as root or as a member of "
                "group trapd"
            )
        params = read_params(command, request)

        async def report_masked(document: Document) -> None:
            await report(masked(document))

        work = command.handler(Call(self._desk, params, caller.actor, report_masked))
        result: Document = masked(await (self._to_its_end(work) if command.access is Access.ADMIN else work))
        return result

    def _to_its_end(self, work: Coroutine[Any, Any, Document]) -> asyncio.Future[Document]:
        """A change that was begun is carried out, though whoever asked for it may go away meanwhile."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return asyncio.shield(task)


def read_params(command: Command, request: Request) -> dict[str, Any]:
    """Every parameter of the command, checked, with defaults. Raises ProtocolError."""
    known = {param.name for param in command.params}
    if unknown := sorted(set(request.params) - known):
        has = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        raise _wrong(request, f"cannot use {unknown[0][:60]!r} with {command.name}: {has}")
    values: dict[str, Any] = {}
    for param in command.params:
        value = request.params.get(param.name)
        if value is None:
            if param.required:
                raise _wrong(request, f"cannot do {command.name} without {param.name}: {param.doc}")
            value = param.default
        elif not _fits(param.kind, value):
            raise _wrong(request, f"cannot use this {param.name} with {command.name}: it has to be a {param.kind}")
        elif param.kind is Kind.NUMBER and value > param.most:
            raise _wrong(request, f"cannot use this {param.name} with {command.name}: at most {param.most}")
        values[param.name] = value
    return values


def _wrong(request: Request, message: str) -> ProtocolError:
    return ProtocolError(Code.INVALID_PARAMS, message, request.id)


def _fits(kind: Kind, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case Kind.TEXT:
            return isinstance(value, str) and len(value) <= _LONGEST_TEXT
        case Kind.TEXTS:
            return isinstance(value, list) and all(_fits(Kind.TEXT, item) for item in value)
        case Kind.NUMBER:
            return number and isinstance(value, int) and 0 <= value <= _LARGEST
        case Kind.SECONDS:
            return number and 0 <= value <= _LARGEST  # which infinity and NaN do not
