"""What signals of PID 1 mean; the calls need a real systemd: tests/nspawn/test_backend_systemd.py."""

from __future__ import annotations

from typing import Any

import pytest

from trapd.backend.systemd.bus import Signal
from trapd.backend.systemd.names import MANAGER, ROOT
from trapd.backend.systemd.pid1 import Pid1


def nothing(*_: Any) -> None: ...


@pytest.mark.parametrize(
    ("member", "body", "told"),
    [
        ("JobNew", [7, "/job/7", "shutdown.target"], [True]),
        ("JobNew", [7, "/job/7", "cron.service"], []),
        ("JobRemoved", [7, "/job/7", "shutdown.target", "canceled"], [False]),
        ("JobRemoved", [7, "/job/7", "shutdown.target", "done"], []),
        ("JobRemoved", [7, "/job/7", "cron.service", "canceled"], []),
    ],
)
def test_the_machine_goes_down_with_the_job_of_a_target_and_stays_up_if_that_is_cancelled(
    member: str, body: list[Any], told: list[bool]
) -> None:
    heard: list[bool] = []
    pid1 = Pid1(address=None, on_facts=nothing, on_job=nothing, on_gap=nothing, on_shutdown=heard.append)
    pid1._receive(Signal(ROOT, MANAGER, member, body))
    assert heard == told
