"""THE table: every command, who may give it, what carries it out, and the trapctl verb that gives it.

There is no other way in. docs/protocol.md is made from this table, the handlers and the types of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic

from trapd.contracts import Accounts, Clock
from trapd.control import handlers, methods
from trapd.control.differences import generations_diff
from trapd.control.following import events, follow, notify_test
from trapd.control.handlers import Call, Document
from trapd.control.methods import Answer, Given, Method
from trapd.control.metrics import metrics
from trapd.control.needs import About, Context, Controller, Counts, Notifier, Pins, Triggers
from trapd.control.parameters import Param, parameters, read
from trapd.control.pinning import keep, pin
from trapd.control.poisoned import drop_task, poisoned, retry_task
from trapd.control.protocol import Code, ProtocolError, Request
from trapd.control.serving import rollout_status
from trapd.control.tasks import end_task, tasks
from trapd.control.worker_orders import drain, recycle_worker, undrain
from trapd.errors import NotPermittedError
from trapd.masking import masked


class Access(StrEnum):
    READ = "read"  # everybody who reaches the socket
    SUBMIT = "submit"  # those, and group trapd-submit; what they asked for ends with their connection
    ADMIN = "admin"  # root, trapd's own user, group trapd


@dataclass(frozen=True)
class Command(Generic[Given, Answer]):
    """A row: the method and its handler have the same types, or mypy says so. ``verb`` is trapctl's."""

    method: Method[Given, Answer]
    access: Access
    handler: Callable[[Call[Given]], Coroutine[Any, Any, Answer]]
    verb: str

    @property
    def name(self) -> str:
        return self.method.name


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a name for history, whether they may change anything, and whether they may hold code for a run."""

    actor: str
    admin: bool
    submits: bool = False

    def may(self, access: Access) -> bool:
        return access is Access.READ or self.admin or (access is Access.SUBMIT and self.submits)


_R, _S, _A = Access.READ, Access.SUBMIT, Access.ADMIN
TABLE = (
    Command(methods.PING, _R, handlers.ping, "status"),
    Command(methods.STATUS, _R, handlers.show_status, "status"),
    Command(methods.RECYCLE, _A, handlers.recycle, "recycle"),
    Command(methods.RECYCLE_WORKER, _A, recycle_worker, "recycle"),
    Command(methods.DRAIN, _A, drain, "drain"),
    Command(methods.UNDRAIN, _A, undrain, "undrain"),
    Command(methods.RETRY, _A, handlers.retry, "retry"),
    Command(methods.ROLLOUT_STATUS, _R, rollout_status, "rollout status"),
    Command(methods.ROLLOUT_WAIT, _R, handlers.rollout_wait, "rollout status"),
    Command(methods.PAUSE, _A, handlers.pause, "rollout pause"),
    Command(methods.RESUME, _A, handlers.resume, "rollout resume"),
    Command(methods.PROMOTE, _A, handlers.promote, "rollout promote"),
    Command(methods.PIN, _S, pin, "pin"),
    Command(methods.PIN_KEEP, _S, keep, "pin"),
    Command(methods.UNDO, _A, handlers.undo, "rollout undo"),
    Command(methods.HISTORY, _R, handlers.history, "rollout history"),
    Command(methods.GENERATIONS, _R, handlers.generations, "generations"),
    Command(methods.GENERATIONS_DIFF, _R, generations_diff, "generations diff"),
    Command(methods.SCALE, _A, handlers.scale, "scale"),
    Command(methods.PLAN, _R, handlers.plan, "plan"),
    Command(methods.TASKS, _R, tasks, "tasks"),
    Command(methods.END_TASK, _A, end_task, "tasks end"),
    Command(methods.POISONED, _R, poisoned, "tasks poisoned"),
    Command(methods.RETRY_TASK, _A, retry_task, "tasks retry"),
    Command(methods.DROP_TASK, _A, drop_task, "tasks drop"),
    Command(methods.WHY, _R, handlers.explain, "why"),
    Command(methods.METRICS, _R, metrics, "metrics"),
    Command(methods.NOTIFY, _A, notify_test, "notify"),
    Command(methods.EVENTS, _R, events, "events"),
    Command(methods.FOLLOW, _R, follow, "events"),
)
COMMANDS: Mapping[str, Command[Any, Any]] = {command.name: command for command in TABLE}
PARAMETERS: Mapping[str, tuple[Param, ...]] = {name: parameters(command.handler) for name, command in COMMANDS.items()}


class Commands:
    """The table at work. Owns nothing; any number of calls may be under way."""

    def __init__(
        self,
        controller: Controller,
        triggers: Triggers,
        *,
        about: About,
        clock: Clock,
        look: Callable[[], Awaitable[object]],
        accounts: Accounts,
        pins: Pins,
        notifier: Notifier | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.context = Context(about, controller, clock, look, accounts, notifier=notifier, counts=counts)
        self._triggers, self._pins = triggers, pins
        self._changes: set[asyncio.Task[Document]] = set()

    async def call(self, request: Request, caller: Caller, report: Callable[[Document], Awaitable[None]]) -> Document:
        """Carry out one request; passwords in what comes out are masked.

        Raises ProtocolError (no such command, wrong params), NotPermittedError, StillGoingError, or another TrapdError
        for what cannot be done.
        """
        command = COMMANDS.get(request.method)
        if command is None:
            raise ProtocolError(Code.UNKNOWN_METHOD, f"cannot do {request.method[:60]!r}: no such command", request.id)
        if not caller.may(command.access):
            groups = "trapd-submit or trapd" if command.access is Access.SUBMIT else "trapd"
            raise NotPermittedError(
                f"cannot run trapctl {command.verb}: {caller.actor} may only look; run it as root or as a member of "
                f"group {groups}"
            )
        params = read(command.name, PARAMETERS[command.name], request)

        async def report_masked(document: Document) -> None:
            await report(masked(document))

        work = command.handler(Call(self.context, self._triggers, self._pins, params, caller.actor, report_masked))
        return masked(await (self._to_its_end(work) if command.access is Access.ADMIN else work))

    def _to_its_end(self, work: Coroutine[Any, Any, Document]) -> asyncio.Future[Document]:
        """A change that was begun is carried out, though whoever asked for it may go away meanwhile."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return asyncio.shield(task)
