"""A run that pins the code, over a restart of trapd in its middle: what holds on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tests.support.daemon import Status, pool, settled_on


class Stage(Protocol):
    """A trapd whose pool ``default`` is at rest, and a run by ``trapctl pin`` that has begun."""

    def wait_until(self, what: str, true: Callable[[Status], bool]) -> Status: ...

    def install_next(self) -> None:
        """Install other code, in place."""

    def restart(self) -> None:
        """Restart trapd, which is to be gone in between."""

    def end_the_run(self) -> tuple[int, str]:
        """Let the command end with status 7; returns the exit status of trapctl, and what it said."""


def waits(status: Status) -> bool:
    return "the end of the pin of" in pool(status)["waiting"]


def an_upgrade_waits(stage: Stage, generation: int) -> Status:
    """Upgrade, and see that this waits for the run on ``generation``."""
    stage.install_next()
    status = stage.wait_until("the upgrade to wait", waits)
    [pin] = pool(status)["pins"]
    assert (pin["generation"], pin["away"]) == (generation, False)
    assert status["problems"] == pool(status)["problems"] == []
    return status


def the_pin_is_kept_over_a_restart(stage: Stage, old: str, new: str, workers: int) -> None:
    """Restart trapd while an upgrade from ``old`` to ``new`` waits, and let the run end."""
    stage.restart()
    stage.wait_until("the holder", lambda now: [pin["away"] for pin in pool(now)["pins"]] == [False])
    stage.wait_until(f"workers on {old}", settled_on(old, workers))
    stage.wait_until("the upgrade to wait", waits)
    ended, said = stage.end_the_run()
    assert ended == 7, said
    assert "trapd is back, and the pin is taken up again" in said
    status = stage.wait_until(f"workers on {new}", settled_on(new, workers))
    assert pool(status)["pins"] == []
