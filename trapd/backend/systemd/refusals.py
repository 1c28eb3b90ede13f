"""Errors of systemd's bus as messages for administrators."""

from __future__ import annotations

from trapd.backend.systemd.bus import BusError, LostError
from trapd.errors import BackendError
from trapd.model import InstanceId

CallError = BusError | LostError

_NOT_ALLOWED = "systemd does not allow it; is trapd's polkit rule installed, and polkit running?"
_REMEDIES = {
    "AccessDenied": _NOT_ALLOWED,
    "InteractiveAuthorizationRequired": _NOT_ALLOWED,
    "NoSuchUnit": "its pool has no unit template; run `systemctl daemon-reload` as root, which makes them",
    "UnitMasked": "its unit is masked; run `systemctl unmask` as root",
    "TransactionIsDestructive": "systemd is stopping it, or a unit that it needs",
}


def is_error(error: CallError, *names: str) -> bool:
    """Whether the error is one of these D-Bus errors, by the last part of their names."""
    return isinstance(error, BusError) and error.name.rpartition(".")[2] in names


def cannot(verb: str, id: InstanceId, error: CallError) -> BackendError:
    """Return the error that the caller of a verb gets."""
    remedy = _REMEDIES.get(error.name.rpartition(".")[2], "") if isinstance(error, BusError) else ""
    return BackendError(f"cannot {verb} {id}: {remedy}" + (f" ({error})" if remedy else str(error)))


def cannot_start(unit: str, error: CallError) -> str:
    """Return why a unit that is no worker could not be started."""
    remedy = _NOT_ALLOWED if is_error(error, "AccessDenied", "InteractiveAuthorizationRequired") else ""
    if is_error(error, "NoSuchUnit"):
        remedy = f"there is no {unit.partition('@')[0]}@.service; write it, and run `systemctl daemon-reload` as root"
    return f"cannot start {unit}: " + (f"{remedy} ({error})" if remedy else str(error))
