"""What people are told when systemd refuses."""

from __future__ import annotations

import pytest

from trapd.backend.systemd.bus import BusError, LostError
from trapd.backend.systemd.refusals import cannot, cannot_start, is_error
from trapd.model import InstanceId

ONE = InstanceId("default", 7, 1)
DENIED = BusError("org.freedesktop.DBus.Error.AccessDenied", "Access denied")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DENIED,
            "cannot start default@7-1: systemd does not allow it; is trapd's polkit rule installed, and polkit "
            "running? (Access denied (org.freedesktop.DBus.Error.AccessDenied))",
        ),
        (
            BusError("org.freedesktop.systemd1.NoSuchUnit", "Unit x not found."),
            "cannot start default@7-1: its pool has no unit template; run `systemctl daemon-reload` as root, which "
            "makes them (Unit x not found. (org.freedesktop.systemd1.NoSuchUnit))",
        ),
        (BusError("org.example.Other", "No"), "cannot start default@7-1: No (org.example.Other)"),
        (LostError("no connection"), "cannot start default@7-1: no connection"),
    ],
)
def test_a_refusal_says_what_why_and_what_to_do(error: BusError | LostError, message: str) -> None:
    assert str(cannot("start", ONE, error)) == message


def test_an_error_is_known_by_the_end_of_its_name() -> None:
    assert is_error(DENIED, "NoSuchUnit", "AccessDenied")
    assert not is_error(DENIED, "NoSuchUnit")
    assert not is_error(LostError("AccessDenied"), "AccessDenied")


def test_a_unit_of_notify_that_cannot_be_started_says_what_to_do() -> None:
    unit = "trapd-notify-mail@17.service"
    assert cannot_start(unit, DENIED).startswith(f"cannot start {unit}: systemd does not allow it; is trapd's polkit ")
    missing = BusError("org.freedesktop.systemd1.NoSuchUnit", "Unit x not found.")
    assert "there is no trapd-notify-mail@.service; write it, and run `systemctl daemon-reload`" in cannot_start(
        unit, missing
    )
    assert cannot_start(unit, LostError("no connection")) == f"cannot start {unit}: no connection"
