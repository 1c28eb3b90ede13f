"""Waiting for rollouts, with a client that is told what to say."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from trapd.control.methods import Question
from trapd.control.protocol import Code, Failed, Progress, Result
from trapd.ctl import follow
from trapd.ctl.client import AnswerError, UnreachableError


class Show:
    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, said: Mapping[str, Any]) -> None:
        self.said.append(said["message"])

    def note(self, text: str) -> None:
        self.said.append(text)


class Scripted:
    """A Client for one connection. A script line is (rollout, state), (rollout, state, successor), "gone" or "late"."""

    def __init__(self, *script: Any) -> None:
        self.script, self.asked = list(script), dict[int, int]()
        self.timeouts: list[float | None] = []

    def __enter__(self) -> Self:
        if self.script == ["down"]:
            raise UnreachableError("cannot reach trapd", absent=True)
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def send(self, question: Question[Any]) -> int:
        assert question.method == "rollout.wait"
        id, timeout = cast(int, question.params["id"]), cast(float | None, question.params["timeout"])
        self.asked[id] = len(self.asked) + 1
        self.timeouts.append(timeout)
        return self.asked[id]

    def receive(self, deadline: float | None) -> Progress | Result | Failed:
        match self.script.pop(0):
            case "gone":
                raise UnreachableError("cannot reach trapd any more", absent=False)
            case "late":
                return Failed(1, Code.TIMED_OUT, "rollout 1 still goes on")
            case (rollout, "rolling"):
                return Progress(self.asked[rollout], {"message": f"{rollout} rolls"})
            case (rollout, state, *successor):
                value = {
                    "pool": "p",
                    "rollout": {"id": rollout, "state": state},
                    "superseded_by": successor[0] if successor else None,
                }
                return Result(self.asked[rollout], value)
        raise AssertionError("the script has no such line")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes only by sleeping, and sleeping takes no time."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: 100.0 + sum(slept))
    monkeypatch.setattr(follow, "time", clock)
    return slept


def wait(rollouts: list[int], *connections: Scripted, timeout: float | None = None) -> tuple[list[Any], list[str]]:
    show, left = Show(), list(connections)

    def connect() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    ended = follow.Waiting(connect, show, timeout).wait(rollouts)
    return [(one["rollout"]["id"], one["rollout"]["state"]) for one in ended], show.said


def test_several_are_waited_for_side_by_side_on_one_connection() -> None:
    one = Scripted((1, "rolling"), (2, "complete"), (1, "rolling"), (1, "rejected"))
    assert wait([1, 2], one) == ([(2, "complete"), (1, "rejected")], ["1 rolls", "1 rolls"])


def test_the_wait_goes_on_to_the_rollout_that_took_over() -> None:
    one = Scripted((1, "superseded", 3), (3, "rolling"), (3, "complete"))
    assert wait([1], one) == ([(3, "complete")], ["pool p: rollout 3 took over from 1; waiting for it", "3 rolls"])


def test_a_superseded_one_without_a_successor_is_the_end() -> None:
    assert wait([1], Scripted((1, "superseded"))) == ([(1, "superseded")], [])


def test_a_restart_of_trapd_is_waited_out_and_what_is_over_is_not_asked_again(slept: list[float]) -> None:
    back = Scripted((2, "complete"))
    ended, said = wait([1, 2], Scripted((1, "complete"), "gone"), Scripted("down"), Scripted("down"), back)
    assert ended == [(1, "complete"), (2, "complete")]
    assert list(back.asked) == [2]
    assert said == ["trapd does not answer; waiting for it to come back ..."]


def test_a_trapd_that_stays_away_is_given_up(slept: list[float]) -> None:
    with pytest.raises(UnreachableError):
        wait([1], Scripted("gone"), Scripted("down"))
    assert follow.AWAY <= sum(slept) <= follow.AWAY + 1


def test_a_timeout_is_the_servers_to_keep_and_counts_over_restarts(slept: list[float]) -> None:
    first, second = Scripted("gone"), Scripted("late")
    with pytest.raises(AnswerError) as error:
        wait([1], first, second, timeout=5.0)
    assert error.value.code == Code.TIMED_OUT
    assert (first.timeouts, second.timeouts) == ([5.0], [4.5])
