"""Commands that change something: asked for, waited for, and their end told by the exit status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trapd.ctl.client import CHANGING
from trapd.ctl.exits import Exit
from trapd.ctl.follow import Waiting
from trapd.ctl.session import Document, Session
from trapd.ctl.words import last_lines

if TYPE_CHECKING:
    from trapd.ctl.render import Screen

_WENT_WRONG = ("rejected", "failed", "superseded")


def change(session: Session, method: str, told: Callable[[Document], str], **params: Any) -> Exit:
    """Send a command that is done when it is answered; ``told`` makes the sentence for a person."""
    document = session.ask(method, patience=CHANGING, **params)
    session.answer(document, lambda screen, answer: screen.line(told(answer)))
    return Exit.OK


def roll(session: Session, method: str, *, wait: bool, timeout: float | None, **params: Any) -> Exit:
    """Send a command that begins rollouts, and wait for their ends. ``timeout`` in seconds."""
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


def await_rollouts(session: Session, rollouts: Sequence[int], timeout: float | None) -> Exit:
    """Show the progress of rollouts until all are over, and then what went wrong."""
    with session.progress() as show:
        ended = Waiting(session.client, show, timeout).wait(rollouts)
    if session.as_json:
        session.print_json({"schema": 1, "rollouts": [one["rollout"] for one in ended]})
    for one in ended:
        if one["rollout"]["state"] in _WENT_WRONG and not session.as_json:
            outcome(session.screen, one)
    return verdict([one["rollout"] for one in ended])


def verdict(rollouts: Sequence[Document]) -> Exit:
    """A rollout that was superseded and has no successor was not carried out either."""
    return Exit.FAILED if any(one["state"] in _WENT_WRONG for one in rollouts) else Exit.OK


def outcome(screen: Screen, document: Mapping[str, Any]) -> None:
    """Print the end of a rollout that went wrong: its traceback, and what serves now."""
    rollout = document["rollout"]
    screen.lines(last_lines(rollout["detail"], lines=60), indent=4)
    if (serves := document["serves"]) not in (None, rollout["generation"]):
        screen.line(f"generation {serves} serves" + (", as before" if serves == rollout["previous"] else ""))
    screen.line(f"trapctl why {rollout['id']} tells more; trapctl retry {rollout['pool']} tries the same code again")
