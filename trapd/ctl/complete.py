"""The words that a shell offers for an argument of trapctl; trapd is asked, and without an answer there are none."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.control.methods import Answer, Question
from trapd.ctl.session import Session
from trapd.errors import TrapdError

if TYPE_CHECKING:
    from trapd.control import documents

_PATIENCE = 1.0  # s: a user waits at a prompt
# The sub-commands of Celery's own command line; to ask Celery for them would take a second.
_CELERY = (
    "amqp",
    "beat",
    "call",
    "control",
    "events",
    "graph",
    "inspect",
    "list",
    "logtool",
    "migrate",
    "multi",
    "purge",
    "report",
    "result",
    "shell",
    "status",
    "upgrade",
    "worker",
)


def pools(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the pools that are not yet on the command line."""
    given = context.params.get("pools") or ()
    return _begun(begun, (pool["name"] for pool in _pools(context) if pool["name"] not in given))


def pools_and_workers(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the names that have logs."""
    return _begun(begun, _names(context))


def pools_or_worker(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return what ``recycle`` takes: some pools, or one worker."""
    return (pools if context.params.get("pools") else pools_and_workers)(context, parameter, begun)


def subjects(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the names that ``why`` explains: pools, workers and rollouts by number."""
    answer = _ask(context, methods.HISTORY({"pool": None, "limit": 20}))
    rollouts = answer["rollouts"] if answer else []
    return _begun(begun, [*_names(context), *(str(rollout["id"]) for rollout in rollouts)])


def celery(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return Celery's sub-commands, for the first word only."""
    return [] if context.params.get("arguments") else _begun(begun, _CELERY)


def _begun(begun: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(begun)]


def _names(context: click.Context) -> Iterator[str]:
    for pool in _pools(context):
        yield pool["name"]
        yield from (instance["name"] for instance in pool["instances"])


def _pools(context: click.Context) -> list[documents.Pool]:
    answer = _ask(context, methods.STATUS({}))
    return answer["pools"] if answer else []


def _ask(context: click.Context, question: Question[Answer]) -> Answer | None:
    """Return None if trapd does not answer: a shell has no place for an error."""
    given = context.find_root().params
    session = Session(given.get("config"), given.get("socket"), os.environ)
    with contextlib.suppress(TrapdError, OSError), contextlib.redirect_stderr(io.StringIO()):
        return session.ask(question, patience=_PATIENCE)
    return None
