"""Why trapd cannot become a service here, found out before anything is changed.

systemd's units run trapd as a user of its own, in a sandbox that hides home folders, and the generator runs it as root
at each boot. So its interpreter must be within everybody's reach, and in nobody's hands but root's.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import trapd

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
PACKAGED = Path("/usr/lib/systemd/system/trapd.service")
# ProtectHome= and PrivateTmp= of the units: there trapd would find these empty.
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))
_NOBODY = 65534
_PATIENCE = 60.0  # s
_MOVE = "make the virtual environment elsewhere, for instance: /usr/bin/python3 -m venv /opt/trapd"


def obstacles() -> Iterator[str]:
    """Everything that stands in the way on this machine: what, why, and what to do."""
    yield from of_machine()
    found = list(of_places(places()))
    yield from found or unreadable()


def of_machine(booted: Path = BOOTED, packaged: Path = PACKAGED, ask: Callable[..., str] | None = None) -> Iterator[str]:
    """What systemd has to offer."""
    if packaged.exists():
        yield f"trapd is installed as a package ({packaged} is there); use that one, or remove it: apt remove trapd"
    if not booted.is_dir():
        yield "systemd does not run this machine; run `trapd` yourself: its embedded backend needs no systemd"
        return
    state = (ask or _systemctl)("show", "--property=LoadState", "--value", "polkit.service")
    if state == "masked":
        yield "polkit is masked, and without it trapd may not start workers; systemctl unmask polkit.service"
    elif state != "loaded":
        yield "polkit is not installed, and without it trapd may not start workers; apt install polkitd, or alike"


def places() -> dict[str, Path]:
    """What has to be within reach for the interpreter that runs this: what it is -> where it is."""
    return {
        "the virtual environment": Path(sys.prefix),
        "its interpreter": Path(sys.executable).resolve(),
        "its standard library": Path(os.__file__).parent.resolve(),
        "trapd's code": Path(trapd.__file__).parent.resolve(),  # elsewhere, if it is installed in editable mode
    }


def of_places(places: dict[str, Path], hidden: Sequence[Path] = HIDDEN, look: Callable[[Path], os.stat_result] = os.stat) -> Iterator[str]:
    """Places that the units cannot see, cannot enter, or that are not root's alone."""
    for what, place in places.items():
        out_of_sight = next((top for top in hidden if place.is_relative_to(top)), None)
        if out_of_sight:
            yield f"{what} is {place}, and services see nothing of {out_of_sight}; {_MOVE}"
            continue
        for folder in (*reversed(place.parents), place):
            if fault := _fault(folder, look(folder)):
                yield f"{what} is {place}, but {folder} {fault}"
                break


def _fault(folder: Path, found: os.stat_result) -> str:
    mode = found.st_mode
    if not mode & stat.S_IXOTH:
        return f"is closed to other users (mode {stat.S_IMODE(mode):04o}); chmod o+rx {folder}"
    if found.st_uid != 0:
        return f"belongs to {_user(found.st_uid)}, and root is to run what is in it; chown --recursive root:root {folder}"
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return f"can be written by everybody, and root is to run what is in it; chmod o-w {folder}"
    if mode & stat.S_IWGRP and _group(found.st_gid) not in ("root", "staff"):  # Debian's staff owns /usr/local
        return f"can be written by group {_group(found.st_gid)}, and root is to run what is in it; chmod g-w {folder}"
    return ""


def unreadable() -> Iterator[str]:
    """Whether somebody else can really run it: an umask, an ACL or a mount may prevent that too."""
    command = [sys.executable, "-IB", "-c", "import trapd.daemon, trapd.units.generator"]
    try:
        done = subprocess.run(
            command,
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        words = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        words = [str(error)]
    if words is not None:
        said = words[0] if words else "it ended without a word"
        yield f"another user cannot run {sys.executable}: {said}; chmod --recursive o+rX {sys.prefix}"


def _systemctl(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _user(number: int) -> str:
    with suppress(KeyError):
        return f"user {pwd.getpwuid(number).pw_name}"
    return f"user {number}"


def _group(number: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)
