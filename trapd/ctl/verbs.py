"""What each verb of trapctl does: ask, show, and say by the exit status how it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trapd.ctl.client import CHANGING, UnreachableError
from trapd.ctl.exits import Exit
from trapd.ctl.follow import Waiting
from trapd.ctl.session import Session

Document = Mapping[str, Any]
_WENT_WRONG = ("rejected", "failed", "superseded")
_EVERY = 2.0  # s between two looks of `status --watch`


def _show(session: Session, document: Document, name: str, *more: Any) -> None:
    """The document as JSON, or by the function of that name in ctl/show.py."""
    if session.as_json:
        return session.print_json(document)
    from trapd.ctl import show  # rich and its tables only where a person reads

    getattr(show, name)(session.screen, document, *more)
    return None


# --- looking ---


def status(session: Session, pools: Sequence[str]) -> Exit:
    document = session.ask("status")
    known = [pool["name"] for pool in document["pools"]]
    if missing := [name for name in pools if name not in known]:
        session.complain(f"cannot find pool {missing[0]!r}: there are: {', '.join(known)}", Exit.UNKNOWN)
        return Exit.UNKNOWN
    if pools:
        document["pools"] = [pool for pool in document["pools"] if pool["name"] in pools]
    _show(session, document, "status")
    problems = [*document["problems"], *(problem for pool in document["pools"] for problem in pool["problems"])]
    return Exit.FAILED if problems else Exit.OK


def watch_status(session: Session, pools: Sequence[str]) -> Exit:
    """Until Ctrl-C."""
    while True:
        if session.screen.terminal:
            session.screen.console.clear()
        try:
            status(session, pools)
        except UnreachableError as error:
            session.screen.line(str(error))
        session.screen.console.file.flush()
        time.sleep(_EVERY)


def plan(session: Session, pools: Sequence[str]) -> Exit:
    document = session.ask("plan", pools=list(pools))
    _show(session, document, "plan")
    return Exit.FAILED if document["changes"] else Exit.OK


def look(session: Session, method: str, name: str, **params: Any) -> Exit:
    """A question whose answer is just shown."""
    _show(session, session.ask(method, **params), name)
    return Exit.OK


# --- changing ---


def roll(session: Session, method: str, *, wait: bool, timeout: float | None, **params: Any) -> Exit:
    """A command that begins rollouts, and the wait for them."""
    begun = session.ask(method, patience=CHANGING, **params)["rollouts"]
    if not session.as_json:
        for one in begun:
            why = f": {one['reason']}" if one["reason"] else ""
            session.screen.line(f"pool {one['pool']}: rollout {one['id']} of generation {one['generation']} begun{why}")
    if wait:
        return await_rollouts(session, [one["id"] for one in begun], timeout)
    if session.as_json:
        session.print_json({"schema": 1, "rollouts": begun})
    return Exit.OK


def rollout_status(session: Session, pools: Sequence[str], *, wait: bool, timeout: float | None) -> Exit:
    """Where the latest rollouts are; waits for those under way."""
    found = session.ask("rollout.status", pools=list(pools))["pools"]
    rollouts = [one["rollout"] for one in found if one["rollout"] is not None]
    if wait and rollouts:
        return await_rollouts(session, [rollout["id"] for rollout in rollouts], timeout)
    if session.as_json:
        session.print_json({"schema": 1, "pools": found})
    else:
        with session.progress() as show:
            for one in found:
                show.note(one["message"])
    return _verdict(rollouts)


def await_rollouts(session: Session, rollouts: Sequence[int], timeout: float | None) -> Exit:
    with session.progress() as show:
        ended = Waiting(session.client, show, timeout).wait(rollouts)
    if session.as_json:
        session.print_json({"schema": 1, "rollouts": [one["rollout"] for one in ended]})
    for one in ended:
        if one["rollout"]["state"] in _WENT_WRONG and not session.as_json:
            _show(session, one, "outcome")
    return _verdict([one["rollout"] for one in ended])


def _verdict(rollouts: Sequence[Document]) -> Exit:
    """A rollout that was superseded and has no successor was not carried out either."""
    return Exit.FAILED if any(one["state"] in _WENT_WRONG for one in rollouts) else Exit.OK


def change(session: Session, method: str, told: Callable[[Document], str], **params: Any) -> Exit:
    """A command that is done when it is answered."""
    document = session.ask(method, patience=CHANGING, **params)
    if session.as_json:
        session.print_json(document)
    else:
        session.screen.line(told(document))
    return Exit.OK
