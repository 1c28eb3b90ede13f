"""Options and arguments that several verbs share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from trapd import durations
from trapd.control.protocol import MOST_LINES
from trapd.ctl import complete
from trapd.ctl.session import Session

Verb = Callable[..., Any]
_NUMBER = re.compile(r"[0-9.]+")

POOL = click.argument("pool", shell_complete=complete.pools)
POOLS = click.argument("pools", nargs=-1, metavar="[POOL]...", shell_complete=complete.pools)
WORKER = click.argument("worker", shell_complete=complete.pools_and_workers)
ONE_POOL = click.argument("pool", required=False, shell_complete=complete.pools)
LIMIT = click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, MOST_LINES),
    default=20,
    show_default=True,
    help="Show at most this number of lines, the latest.",
)


def json(verb: Verb) -> Verb:
    """``--json``: kept in the session, where the verb finds it."""

    def set_it(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and (session := context.find_object(Session)) is not None:
            session.as_json = True

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=set_it,
        help="Print one JSON document, as trapctl schema describes it.",
    )(verb)


def waiting(verb: Verb) -> Verb:
    """``--wait`` and ``--timeout``: the parameters ``wait`` and ``timeout`` (seconds or None)."""
    verb = click.option(
        "--timeout",
        callback=_seconds,
        metavar="DURATION",
        help="Stop waiting after this time, such as 90s or 10min; exit status 75.",
    )(verb)
    return click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end.")(verb)


def _seconds(context: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a duration as in trapd.toml; a number alone is seconds."""
    try:
        return None if value is None else durations.seconds(f"{value}s" if _NUMBER.fullmatch(value) else value)
    except ValueError as error:
        words = f"{value!r} is {error}; write one such as {durations.EXAMPLES}"
        raise click.BadParameter(words, context, param) from None
