"""Send a command that changes something, wait for its end, and turn the end into an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trapd.control.methods import Answer, Question
from trapd.control.protocol import SCHEMA
from trapd.ctl.client import CHANGING
from trapd.ctl.exits import Exit
from trapd.ctl.follow import Waiting
from trapd.ctl.session import Session
from trapd.ctl.words import last_lines, lasting

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen

_WENT_WRONG = ("rejected", "failed", "superseded")


def change(
    session: Session, question: Question[Answer], sentence: Callable[[Answer], str], *, patience: float = CHANGING
) -> Exit:
    """Send a command that has ended when the answer comes, within ``patience`` seconds; ``sentence`` makes the line for
    users from the answer."""
    document = session.ask(question, patience=patience)
    session.answer(document, lambda screen, answer: screen.line(sentence(answer)))
    return Exit.OK


def roll(
    session: Session,
    question: Question[documents.Rollouts],
    *,
    wait: bool,
    timeout: float | None,
    then: Sequence[str] | None = None,
) -> Exit:
    """Send a command that begins rollouts, and wait for their ends; ``timeout`` in seconds.

    ``then``: pools that have to serve what is installed afterwards; all if it is empty, and none if it is None.
    """
    answer = session.ask(question, patience=CHANGING)
    begun = answer["rollouts"]
    if not session.as_json:
        for rollout in begun:
            why = f": {rollout['reason']}" if rollout["reason"] else ""
            session.screen.line(
                f"pool {rollout['pool']}: rollout {rollout['id']} of generation {rollout['generation']} begun{why}"
            )
    if wait:
        return _await(session, [rollout["id"] for rollout in begun], timeout, then)
    if session.as_json:
        session.print_json(answer)
    return Exit.OK


def _await(session: Session, rollouts: Sequence[int], timeout: float | None, then: Sequence[str] | None) -> Exit:
    """Show the progress of rollouts until all are over, and then what went wrong."""
    with session.progress() as show:
        waiting = Waiting(session.client, show, timeout)
        ended = waiting.wait(rollouts)
        well = not any(status["rollout"]["state"] in _WENT_WRONG for status in ended)
        found = waiting.installed(then) if well and then is not None else None
    if session.as_json:
        found_rollouts = [status["rollout"] for status in ended]
        answer: documents.Rollouts = {"schema": SCHEMA, "rollouts": found_rollouts, "drains": []}
        session.print_json(answer)
    else:
        for status in ended:
            if status["rollout"]["state"] in _WENT_WRONG:
                outcome(session.screen, status)
    if found is not None:
        return refusals(session, found)
    return Exit.OK if well else Exit.FAILED


def refusals(session: Session, document: documents.RolloutStatus) -> Exit:
    """Print why pools have refused what is installed, on standard error, with what there is to do; FAILED if any."""
    refused = [
        (standing, pool)
        for standing, pool in zip(document["installed"], document["pools"], strict=True)
        if standing["state"] == "refused"
    ]
    for standing, pool in refused:
        told = [_told(problem) for problem in problems(document) if problem["pool"] == standing["pool"]]
        print(*(f"trapctl: {text}" for text in told or [standing["message"]]), sep="\n", file=sys.stderr)
        if session.as_json:
            continue
        if pool["rollout"] is not None and pool["rollout"]["id"] == standing["rollout"]:
            outcome(session.screen, pool)
        else:
            name = standing["pool"]
            session.screen.line(f"trapctl why {name} shows more; trapctl retry {name} tries the same code again")
    return Exit.FAILED if refused else Exit.OK


def kept_out(session: Session, document: documents.RolloutStatus) -> Exit:
    """Print what keeps installed code from running until somebody does something, refusals and all; FAILED if anything
    does."""
    refused = {standing["pool"] for standing in document["installed"] if standing["state"] == "refused"}
    others = [problem for problem in problems(document) if problem["pool"] not in refused]
    for problem in others:
        print(f"trapctl: {_told(problem)}", file=sys.stderr)
    return max(refusals(session, document), Exit.FAILED if others else Exit.OK)


def problems(document: documents.RolloutStatus) -> list[documents.OpenProblem]:
    """What keeps installed code from running until somebody does something."""
    return document.get("problems", [])  # a trapd from before the upgrade names none


def _told(problem: documents.OpenProblem) -> str:
    text = problem["text"] + lasting(problem, problem["seconds"])
    return text if problem["pool"] is None else f"pool {problem['pool']}: {text}"


def outcome(screen: Screen, document: documents.Progress) -> None:
    """Print the end of a rollout that went wrong: its traceback, and what serves now."""
    rollout = document["rollout"]
    screen.lines(last_lines(rollout["detail"], lines=60), indent=4)
    if (serves := document["serves"]) not in (None, rollout["generation"]):
        screen.line(f"generation {serves} serves" + (", as before" if serves == rollout["previous"] else ""))
    screen.line(f"trapctl why {rollout['id']} shows more; trapctl retry {rollout['pool']} tries the same code again")
