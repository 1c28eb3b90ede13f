"""The Debian that the tests' machines are made of: the one that runs here, or the release that TRAPD_TEST_DEBIAN names.
mmdebstrap makes the root of that release once, and it is kept.

The packages come from wherever this machine's own apt has them from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.environments import alone

REPOSITORY = Path(__file__).parents[2]
KEPT = REPOSITORY / ".pytest_cache/d/debian"
RELEASE = os.environ.get("TRAPD_TEST_DEBIAN", "")  # a code name: trixie; "" is the Debian that is here
ENTER = Path(__file__).with_name("release_enter.sh")
HERE = Path("/")
# What the Makefile's PACKAGES are to this machine, and what every Debian that somebody works on has.
PACKAGES = (
    *("ca-certificates", "dbus", "iproute2", "iputils-ping", "man-db", "polkitd"),
    *("procps", "python3", "python3-venv", "rabbitmq-server", "redis-server", "systemd-sysv"),
)
_ARCHIVE = re.compile(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+/debian/?)(?=\s|$)", re.MULTILINE)  # both forms of a list
# What pip needs to reach the registry from there as it does from here.
_LENT = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/pip.conf", "/etc/resolv.conf", "/etc/ssl", "/etc/xdg/pip")


class ReleaseError(Exception):
    """Its root could not be made; the message has the words of the program that failed."""


def root() -> Path:
    """The folder that is the root of the release; "/" for the Debian that is here. Takes minutes the first time."""
    if not RELEASE:
        return HERE
    place = KEPT / f"{RELEASE}-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:8]}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with alone(KEPT):
        if not place.exists():
            fresh = KEPT / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            _make(fresh)
            fresh.rename(place)
    return place


def _make(folder: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise ReleaseError(f"cannot make a root of {RELEASE}: no mmdebstrap; install Debian's package mmdebstrap")
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=directory"]
    command += [f"--include={','.join(PACKAGES)}", "--aptopt=Acquire::Languages none"]
    # the lists stay, as on a machine where somebody works: apt finds in them what trapd's package depends on
    command += ["--skip=cleanup/apt/lists", RELEASE, str(folder), source := archive()]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        remedy = f"look whether this machine reaches that archive, and whether it has {RELEASE}"
        raise ReleaseError(f"cannot make a root of {RELEASE} from {source}; {remedy}:\n{done.stdout}{done.stderr}")


def archive(folder: Path = HERE / "etc/apt") -> str:
    """Where this machine's apt has Debian from. Raises ReleaseError if its lists name no archive."""
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        if found := _ARCHIVE.search(file.read_text()):
            return found[1]
    raise ReleaseError(f"cannot find Debian's archive in {folder}/sources.list*; no line ends in /debian")


def command(*argv: str, shared: Sequence[Path] = ()) -> list[str]:
    """The argv here that runs ``argv`` on a copy of that root which it forgets, with this machine's network.

    ``shared``: folders that both see under the same path, and may change.
    """
    top = root()
    if top == HERE:
        return list(argv)
    lent = [path for path in (*map(Path, _LENT), Path.home() / ".config/pip", Path.home() / ".pip") if path.exists()]
    folders = [str(path) for path in (*lent, *shared)]
    enter = ["unshare", "--mount", "--propagation", "private", "sh", str(ENTER), str(top), str(len(folders))]
    return [*enter, *folders, *argv]
