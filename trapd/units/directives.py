"""The settings that a pool may give to systemd: those that this machine's systemd knows, except those trapd needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trapd.nearest import nearest

Known = Mapping[str, frozenset[str]]  # section -> names; without any, every name is taken for one of [Service]

PID1 = (Path("/usr/lib/systemd/systemd"), Path("/lib/systemd/systemd"))
SECTIONS = ("Unit", "Service")  # in this order: a name that both have is an old spelling in [Service]
_PATIENCE = 10.0  # s; it takes 0.02

_OWN_LIFE = "trapd relies on how its workers start and stop"
_OWN_USER = "the workers' folders and trapd's rights depend on their user; SupplementaryGroups adds groups"
_TIED = "it would stop or restart workers together with another unit"
OURS: Mapping[str, str] = {
    **dict.fromkeys(("Type", "NotifyAccess", "ExecStart", "RemainAfterExit", "PIDFile", "BusName"), _OWN_LIFE),
    **dict.fromkeys(("KillMode", "KillSignal", "RestartKillSignal", "SendSIGKILL"), _OWN_LIFE),
    **dict.fromkeys(("User", "Group", "DynamicUser"), _OWN_USER),
    **dict.fromkeys(("PartOf", "BindsTo", "BindTo", "Requisite", "StopPropagatedFrom", "PropagatesStopTo"), _TIED),
    "SourcePath": "it names trapd.toml",
}


@dataclass(frozen=True, slots=True)
class Ignored:
    """A setting of ``[pools.NAME.systemd]`` that is left out of the unit."""

    pool: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"[pools.{self.pool}.systemd] {self.name}: {self.why}"


def parse(dump: str) -> Known:
    """Parse the output of ``systemd --dump-configuration-items``: ``[Service]``, then lines such as ``Nice=NICE``."""
    known: dict[str, set[str]] = {}
    section: set[str] = set()
    for line in dump.splitlines():
        if line.startswith("["):
            section = known.setdefault(line.strip("[]"), set())
        elif "=" in line:
            section.add(line.partition("=")[0])
    return {name: frozenset(known[name]) for name in SECTIONS if known.get(name)}


def ask(programs: tuple[Path, ...] = PID1) -> Known:
    """Return the settings that this machine's systemd knows; empty if it cannot be asked."""
    program = next((path for path in programs if path.is_file()), None)
    if program is None:
        return {}
    try:
        done = subprocess.run(
            [program, "--dump-configuration-items"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse(done.stdout) if done.returncode == 0 else {}


def objection(name: str, value: object, known: Known) -> str:
    """Return why the unit cannot have this setting, and what to do; empty if it can."""
    if name in OURS:
        return f"cannot be set here: {OURS[name]}; remove it"
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
        return "is not a name of systemd's; see systemd.exec(5) and systemd.resource-control(5)"
    if known and not section(name, known):
        near = nearest(name, sorted(set().union(*known.values()) - set(OURS)))
        return "this machine's systemd does not know it; " + (f"did you mean {near}?" if near else "remove it")
    text = shown(value)
    if any(character in text for character in "\n\r\0") or text.endswith("\\"):
        return "its value has more than one line; write it as one line"
    return ""


def section(name: str, known: Known) -> str:
    """Return the section of a unit file that the setting belongs to; empty if none."""
    if not known:
        return "Service"
    return next((place for place in SECTIONS if name in known.get(place, ())), "")


def shown(value: object) -> str:
    """Return a value of TOML as systemd writes it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
