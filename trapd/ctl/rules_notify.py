"""Findings of `trapctl check` about [notify]: a program that cannot be run, a unit that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trapd.ctl.findings import ERROR, OK, Finding
from trapd.settings import Settings, resolve_backend

# Where systemd looks for units (systemd.unit(5)), as far as administrators and packages write there.
PLACES = tuple(
    Path(place)
    for place in (
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    )
)
_REASON = "nobody is told of events"


def findings(settings: Settings, places: Sequence[Path] = PLACES) -> Iterator[Finding]:
    """Look for the program and the unit; nothing is run."""
    notify = settings.notify
    if notify.command and not os.access(notify.command[0], os.X_OK):
        what = f"[notify] command: {notify.command[0]} is no program that can be run"
        yield Finding(ERROR, what, _REASON, "install it, or correct the path")
    if not notify.unit:
        return
    template = f"trapd-notify-{notify.unit}@.service"
    if resolve_backend(settings) != "systemd":
        what = f"[notify] unit: systemd does not run the workers, so trapd cannot start {template}"
        yield Finding(ERROR, what, _REASON, 'use [notify] command, or set [trapd] backend = "systemd"')
    elif not any((place / template).exists() for place in places):
        remedy = "write it in /etc/systemd/system, as docs/notify.md shows, and run `systemctl daemon-reload`"
        yield Finding(ERROR, f"[notify] unit: there is no {template}", _REASON, remedy)
    else:
        yield Finding(OK, f"events start {template}; `trapctl notify` tests it")
