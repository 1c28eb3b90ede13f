"""Reasons for which trapd cannot become a service on this machine, found before anything is changed.

systemd's units run trapd as a user of its own, in a sandbox that hides home folders, and systemd runs the generator as
root at each boot. So every user must be able to read trapd's interpreter, and only root to change it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import trapd
from trapd.layout import SYSTEMD_BOOTED

Look = Callable[[Path], os.stat_result]

PACKAGED = Path("/usr/lib/systemd/system/trapd.service")
# ProtectHome= and PrivateTmp= of the units: for services these folders are empty.
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))
_ROOT_RUNS = "and root is to run what is in it"
_NOBODY = 65534
_PATIENCE = 60.0  # s
_MOVE = "make the virtual environment elsewhere, for instance: /usr/bin/python3 -m venv /opt/trapd"


def obstacles() -> Iterator[str]:
    """Yield every obstacle on this machine: what it is, why it matters, and what to do."""
    yield from of_machine()
    of_files = [*of_places(places()), *of_trees(trees())]
    yield from of_files or unreadable()


def of_machine(
    booted: Path = SYSTEMD_BOOTED, packaged: Path = PACKAGED, ask: Callable[..., str] | None = None
) -> Iterator[str]:
    """Yield the obstacles in systemd and polkit."""
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
    """Return what the interpreter that runs this code needs: what it is -> where it is."""
    return {
        "the installation": Path(sys.prefix),
        "its interpreter": Path(sys.executable).resolve(),
        "its standard library": Path(os.__file__).parent.resolve(),
        "trapd's code": Path(trapd.__file__).parent.resolve(),  # elsewhere, if it is installed in editable mode
    }


def trees() -> list[Path]:
    """Return the folders that only trapd uses, so that everything in them has to belong to root."""
    package = Path(trapd.__file__).parent
    return [package] if sys.prefix == sys.base_prefix else [Path(sys.prefix), package]


def of_places(places: Mapping[str, Path], hidden: Sequence[Path] = HIDDEN, look: Look = Path.lstat) -> Iterator[str]:
    """Yield places that the units cannot see, that they cannot enter, or that a user other than root can change."""
    for what, place in places.items():
        if unseen := next((top for top in hidden if place.is_relative_to(top)), None):
            yield f"{what} is in {place}, and services see nothing of {unseen}; {_MOVE}"
            continue
        for folder in (*reversed(place.parents), place):
            if fault := _closed(folder, look(folder)) or _foreign(folder, look(folder)):
                yield f"{what} is in {place}, but {fault}"
                break


def of_trees(trees: Iterable[Path], look: Look = Path.lstat) -> Iterator[str]:
    """Yield the first file in each folder that other users cannot read, or that a user other than root can change."""
    for tree in trees:
        paths = (Path(folder, name) for folder, folders, names in os.walk(tree) for name in (*folders, *names))
        faults = (_secret(path, look(path)) or _foreign(path, look(path)) for path in paths)
        yield from islice(filter(None, faults), 1)


def _closed(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_IXOTH:
        return ""
    return f"{path} is closed to other users (mode {stat.S_IMODE(status.st_mode):04o}); chmod o+rx {path}"


def _secret(path: Path, status: os.stat_result) -> str:
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
    if stat.S_ISLNK(status.st_mode) or status.st_mode & needed == needed:
        return ""
    mode = stat.S_IMODE(status.st_mode)
    return f"other users cannot read {path} (mode {mode:04o}); chmod --recursive o+rX {path.parent}"


def _foreign(path: Path, status: os.stat_result) -> str:
    mode, group = status.st_mode, _group(status.st_gid)
    if status.st_uid != 0:
        return f"{path} belongs to {_user(status.st_uid)}, {_ROOT_RUNS}; chown --recursive root:root {path}"
    if stat.S_ISLNK(mode):
        return ""
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return f"everybody can write {path}, {_ROOT_RUNS}; chmod o-w {path}"
    if mode & stat.S_IWGRP and group not in ("root", "staff"):  # members of Debian's staff may change /usr/local anyway
        return f"group {group} can write {path}, {_ROOT_RUNS}; chmod g-w {path}"
    return ""


def unreadable() -> Iterator[str]:
    """Try as another user to run trapd: an umask, an ACL or a mount may prevent that too."""
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
        reason = words[0] if words else "it exited without a message"
        yield f"another user cannot run {sys.executable}: {reason}; chmod --recursive o+rX {sys.prefix}"


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
