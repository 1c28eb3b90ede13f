"""What `trapctl check` tells of a trapd that runs."""

from __future__ import annotations

from typing import Any

from trapd.ctl import rules_running
from trapd.ctl.findings import WARNING

OWN: dict[str, Any] = {"kind": "trouble", "pool": None, "worker": None, "text": "the disk is full", "since": 940.0}
IDLE: dict[str, Any] = {"kind": "not-consuming", "pool": "p", "worker": "p@1-1", "text": "it is idle", "since": 400.0}


def test_each_problem_is_a_warning_with_its_age() -> None:
    status: Any = {"open_problems": [OWN, IDLE]}
    own, idle = rules_running.findings(status, 1000.0)
    assert (own.level, own.what, own.since) == (WARNING, "the disk is full", 940.0)
    assert own.reason == "trapd runs, and has had this problem for 1m00s"
    assert (idle.what, idle.remedy) == ("pool p: it is idle", "look at `trapctl why p`")
    assert idle.reason.endswith(" for 10m00s")
    assert idle.document()["since"] == 400.0


def test_a_trapd_from_before_the_upgrade_has_none() -> None:
    nothing: Any = {}
    assert not list(rules_running.findings(nothing, 1000.0))
