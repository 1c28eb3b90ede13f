"""Waiting for rollouts, with a client that is told what to say."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from trapd.control.methods import Question
from trapd.control.protocol import Code, Failed, Progress, Result
from trapd.ctl import follow
from trapd.ctl.client import LOOKING, AnswerError, UnreachableError


class Show:
    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, said: Mapping[str, Any]) -> None:
        self.said.append(said["message"])

    def note(self, text: str) -> None:
        self.said.append(text)


class Scripted:
    """A Client for one connection. A script line is (rollout, state), (rollout, state, successor), ("silent", seconds,
    slept), "gone" or "late"."""

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
        id, timeout = cast(int, question.params.get("id", 0)), cast(float | None, question.params["timeout"])
        assert question.method == ("rollout.wait" if id else "rollout.status")
        self.asked[id] = len(self.asked) + 1
        self.timeouts.append(timeout)
        return self.asked[id]

    def receive(self, deadline: float | None) -> Progress | Result | Failed:
        match self.script.pop(0):
            case "gone":
                raise UnreachableError("cannot reach trapd any more", absent=False)
            case "late":
                return Failed(1, Code.TIMED_OUT, "rollout 1 still goes on")
            case "settled":
                return Result(self.asked[0], {"installed": []})
            case ("awaited", why):
                return Progress(self.asked[0], {"state": "awaited", "rollout": None, "message": why})
            case ("serves", why):
                return Progress(self.asked[0], {"state": "serves", "rollout": None, "message": why})
            case ("moves", message):
                return Progress(self.asked[0], {"rollout": {"id": 1}, "message": message})
            case ("silent", seconds, slept):
                slept.append(seconds)
                raise UnreachableError("it is too busy to answer", absent=False)
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


class Events(Scripted):
    """A Client that is sent events; a script line is an id or "gone"."""

    def send(self, question: Question[Any]) -> int:
        assert question.method == "events.follow"
        self.since = question.params["since"]
        return 1

    def receive(self, deadline: float | None) -> Progress | Result | Failed:
        match self.script.pop(0):
            case int(id):
                return Progress(1, {"id": id})
            case "gone":
                raise UnreachableError("cannot reach trapd any more", absent=False)
        return Failed(1, Code.USAGE, "cannot find pool 'gup'")


def test_events_are_followed_over_a_restart_and_none_is_missed_or_taken_twice(slept: list[float]) -> None:
    connections = [Events(5, 6, "gone"), Events("down"), Events(7, "end")]
    left, taken, notes = list(connections), list[int](), list[str]()
    following = follow.Following(lambda: cast(Any, left.pop(0)), notes.append)
    with pytest.raises(AnswerError):
        following.events(None, 4, lambda event: taken.append(event["id"]))
    assert (taken, connections[0].since, connections[2].since) == ([5, 6, 7], 4, 6)
    assert len(notes) == 1


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


def installed(*connections: Scripted, timeout: float | None = None) -> tuple[Any, list[str]]:
    show, left = Show(), list(connections)

    def connect() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return follow.Waiting(connect, show, timeout).installed(["p"]), show.said


def test_what_is_awaited_before_what_is_installed_serves_is_told() -> None:
    script = Scripted(("awaited", "waiting: it is broken"), ("moves", "0 of 2"), ("serves", "2 of 2"), "settled")
    assert installed(script) == ({"installed": []}, ["waiting: it is broken", "0 of 2"])


def test_that_wait_goes_on_over_a_restart_of_trapd_too(slept: list[float]) -> None:
    answer, said = installed(Scripted("gone"), Scripted("down"), Scripted("settled"), timeout=5.0)
    assert (answer, said) == ({"installed": []}, ["trapd does not answer; waiting for it to come back ..."])


def test_that_wait_ends_when_its_time_is_over() -> None:
    with pytest.raises(AnswerError) as error:
        installed(Scripted("late"), timeout=1.0)
    assert error.value.code == Code.TIMED_OUT


def test_a_trapd_that_takes_connections_and_answers_none_is_given_up_when_the_time_is_over(slept: list[float]) -> None:
    silent, show = ("silent", 5.0 + LOOKING, slept), Show()
    connections = [Scripted(silent), Scripted(silent)]
    with pytest.raises(UnreachableError, match="too busy"):
        follow.Waiting(lambda: cast(Any, connections.pop(0)), show, 5.0).installed(["p"])
    assert (len(connections), show.said) == (1, [])
