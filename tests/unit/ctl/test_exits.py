"""What scripts are told."""

from __future__ import annotations

import pytest

from trapd.control.protocol import Code, Failed
from trapd.ctl.client import AnswerError
from trapd.ctl.exits import Exit, exit_of
from trapd.ctl.session import Session


@pytest.mark.parametrize(
    ("code", "verb", "status"),
    [
        (Code.REFUSED, "status", Exit.UNKNOWN),  # "1" would be read as: it answers, and a pool is degraded
        (Code.INTERNAL, "status", Exit.UNKNOWN),
        (Code.REFUSED, "recycle", Exit.FAILED),
        (Code.USAGE, "recycle", Exit.USAGE),
        (Code.USAGE, "plan", Exit.USAGE),
        (Code.USAGE, "status", Exit.UNKNOWN),
        (Code.NOT_PERMITTED, "recycle", Exit.NOT_PERMITTED),
        (Code.TIMED_OUT, "recycle", Exit.TIMED_OUT),
        (Code.REFUSED, "plan", Exit.PLAN_FAILED),
    ],
)
def test_a_status_without_an_answer_is_unknown(code: Code, verb: str, status: Exit) -> None:
    assert exit_of(AnswerError(Failed(1, code, "no")), verb) is status


def test_a_complaint_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Session(None, None, {}).complain("bad\x1b[2Jname: amqp://u:secret@h", Exit.FAILED)
    assert capsys.readouterr().err == "trapctl: bad [2Jname: amqp://u:***@h\n"
