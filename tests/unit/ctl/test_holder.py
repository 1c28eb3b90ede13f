"""The holder of pins, on a connection whose other end says what the test wants."""

from __future__ import annotations

from typing import Any

import pytest

from trapd.control.protocol import Code, Failed, Progress
from trapd.ctl.client import AnswerError, Client
from trapd.ctl.holder import Holder, different


class Trapd:
    """In place of ``Client``: says one message after the other, and keeps what it is asked."""

    def __init__(self, *says: Progress | Failed) -> None:
        self.says, self.asked = list(says), list[tuple[str, dict[str, Any]]]()

    def __call__(self) -> Client:
        return self  # type: ignore[return-value]

    def __enter__(self) -> Trapd:
        return self

    def send(self, question: Any) -> int:
        self.asked.append((question.method, {**question.params}))
        return 1

    def receive(self, deadline: float | None) -> Progress | Failed:
        return self.says.pop(0)


def progress(pool: str, pin: str | None, digest: str = "d") -> Progress:
    generation = None if pin is None else 3
    return Progress(
        1, {"pool": pool, "pin": pin, "generation": generation, "digest": digest, "until": 1.0, "message": pool}
    )


def test_it_begins_when_all_pools_are_held() -> None:
    told: list[str] = []
    trapd = Trapd(progress("b", None), progress("b", "2"), progress("a", "1"))
    held = Holder(trapd, told.append).begin(["b", "a", "b"], "sleep")
    assert told == ["b"]
    assert [*held] == ["b", "a"]
    assert trapd.asked == [
        ("pin", {"pools": ["b", "a"], "reason": "sleep", "pins": None}),
        ("pin.keep", {"pin": "2"}),
        ("pin.keep", {"pin": "1"}),
    ]


def test_without_a_name_the_only_pool_is_held() -> None:
    trapd = Trapd(progress("default", "1"))
    assert [*Holder(trapd, print).begin([], "")] == ["default"]
    assert trapd.asked[0] == ("pin", {"pools": None, "reason": "", "pins": None})


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(AnswerError, match="a person has to resume it"):
        Holder(Trapd(Failed(1, Code.TIMED_OUT, "a person has to resume it")), print).begin(["a"], "")


def test_pools_on_different_code_are_told() -> None:
    same = Holder(Trapd(progress("a", "1"), progress("b", "2")), print).begin(["a", "b"], "")
    assert different(same) == ""
    others = Holder(Trapd(progress("a", "1"), progress("b", "2", "e")), print).begin(["a", "b"], "")
    assert different(others) == "these pools are on different code: a on generation 3, b on generation 3"
