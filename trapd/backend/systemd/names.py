"""Names of units and of their objects on the bus. Pure."""

from __future__ import annotations

import re

from trapd.model import InstanceId

PATTERN = "trapd-worker-*@*.service"  # a glob, as systemctl takes it
SYSTEMD = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
MANAGER, UNIT, SERVICE, JOB = (f"{SYSTEMD}.{name}" for name in ("Manager", "Unit", "Service", "Job"))
PROPERTIES = "org.freedesktop.DBus.Properties"
UNITS = f"{ROOT}/unit"


def escape(unit: str) -> str:
    """Return a unit's name as the last part of an object path."""
    return re.sub(r"[^A-Za-z0-9]|^[0-9]", lambda match: f"_{ord(match[0]):02x}", unit)


_OURS = f"{UNITS}/{escape('trapd-worker-')}"


def object_path(id: InstanceId) -> str:
    """Return the path of its unit on the bus."""
    return f"{UNITS}/{escape(id.unit)}"


def instance(unit: str) -> InstanceId | None:
    """Return the instance of this unit; None if it is not a worker of trapd."""
    try:
        id = InstanceId.parse(unit)
    except ValueError:
        return None
    return id if id.unit == unit else None


def instance_at(path: str) -> InstanceId | None:
    """Return the instance of the unit with this object path; None, quickly, if it is not a worker of trapd."""
    if not path.startswith(_OURS):
        return None
    escaped = path.removeprefix(f"{UNITS}/")
    return instance(re.sub(r"_([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), escaped))
