"""The words that a shell offers for an argument of trapctl: trapd is asked; where it does not answer there are none."""

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

_PATIENCE = 1.0  # s: somebody waits at a prompt
# Of Celery's own command line; to ask it would take a second.
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
    """Pools, without those that are named already."""
    given = context.params.get("pools") or ()
    return _begun(begun, (pool["name"] for pool in _pools(context) if pool["name"] not in given))


def pools_and_workers(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """What has logs."""
    return _begun(begun, _names(context))


def subjects(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """What ``why`` explains: pools, workers and rollouts by number."""
    answer = _ask(context, methods.HISTORY({"pool": None, "limit": 20}))
    return _begun(begun, [*_names(context), *(str(one["id"]) for one in (answer["rollouts"] if answer else []))])


def celery(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Celery's sub-commands, as the first word only."""
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
    """None where nobody answers: a shell has no place for an error."""
    given = context.find_root().params
    session = Session(given.get("config"), given.get("socket"), os.environ)
    with contextlib.suppress(TrapdError, OSError), contextlib.redirect_stderr(io.StringIO()):
        return session.ask(question, patience=_PATIENCE)
    return None
