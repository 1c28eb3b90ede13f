"""dpkg's own facts: its lock, the state in which it left each package, and which files belong to which package."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from trapd import process_stat
from trapd.locks import holders
from trapd.watch.at_work import Installer
from trapd.watch.sites import Site, normalise, of_metadata

_LOCKS = ("lock", "lock-frontend")
_PARAGRAPH = re.compile(rb"^Package: (\S+)\nStatus: \S+ \S+ (\S+)$", re.MULTILINE)
_HALF = frozenset({"half-installed", "unpacked", "half-configured"})
_STEP = re.compile("[0-9]+")  # a file in updates/, which dpkg has not yet put into its table


class Dpkg:
    """Reads dpkg's database below ``root``, and remembers what it read for as long as the database is the same.

    A package matters if it owns a distribution that is needed, wherever that lies: a package may bring a virtual
    environment of its own. So does one whose script runs an installer on the environment (``started``).
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root, self._database = root, root / "var/lib/dpkg"
        self._read_at: object = None
        self._half: dict[str, str] = {}  # package -> state, of those that dpkg has not finished
        self._owned_at: object = None
        self._owns = False
        self._behind = frozenset[str]()  # of those that hold the lock, who stand behind an installer at work

    def unfinished(
        self, sites: Collection[Site], needed: Collection[str], *, of_system: bool, proc: Path
    ) -> Iterator[str]:
        """Yield why dpkg has not finished what it does to these distributions, by normalised name. ``of_system``: some
        of them lie, or lay, where only the system's package manager installs."""
        table = _stamps(self._database / "status", self._database / "updates")
        if table is None:
            return
        for installer in self.at_work(sites, needed, of_system=of_system, proc=proc):
            yield installer.why
        if table != self._read_at:
            self._half, self._read_at = self._unfinished(), table
        for package, state in self._half.items():
            if any(_owns(file, self._root, sites, needed) for file in self._lists(package)):
                remedy = "dpkg --configure --pending" if state != "half-installed" else f"apt-get install {package}"
                yield f"dpkg has not finished the package {package}, which is {state}; run {remedy}"

    def at_work(
        self, sites: Collection[Site], needed: Collection[str], *, of_system: bool, proc: Path
    ) -> Iterator[Installer]:
        """Yield who holds dpkg's lock, if what dpkg does may be to these distributions; see ``unfinished``."""
        held = self._holders(proc)
        self._behind &= frozenset(held)
        if held and (of_system or self._behind or self._owns_any(sites, needed)):
            yield Installer(int(held[0]), f"a package installation is going on (process {held[0]} holds dpkg's lock)")

    def started(self, installer: int, proc: Path) -> None:
        """Take note of an installer at work: if a package's script has started it, the environment is finished when
        dpkg is. A pip that runs while apt waits at a question elsewhere has other parents."""
        self._behind |= frozenset(self._holders(proc)) & frozenset(_parents(installer, proc))

    def _holders(self, proc: Path) -> list[str]:
        return list(holders((self._database / name for name in _LOCKS), proc))

    def _owns_any(self, sites: Collection[Site], needed: Collection[str]) -> bool:
        """Asked only while somebody holds the lock: a Debian has a thousand of these lists."""
        asked = (_stamps(self._database / "info"), sorted(str(site.path) for site in sites), sorted(needed))
        if asked != self._owned_at:
            self._owns = any(_owns(file, self._root, sites, needed) for file in self._lists("*"))
            self._owned_at = asked
        return self._owns

    def _lists(self, package: str) -> Iterator[Path]:
        """The lists of a package's files; those of other architectures have it in their name."""
        for pattern in (f"{package}.list", f"{package}:*.list"):
            yield from (self._database / "info").glob(pattern)

    def _unfinished(self) -> dict[str, str]:
        states: dict[str, str] = {}
        updates = self._database / "updates"
        steps = sorted(name for name in _names(updates) if _STEP.fullmatch(name))  # the later overrides the earlier
        for file in (self._database / "status", *(updates / name for name in steps)):
            states |= _states(file)
        return {package: state for package, state in states.items() if state in _HALF}


def _states(file: Path) -> Mapping[str, str]:
    try:
        return {package.decode(): state.decode() for package, state in _PARAGRAPH.findall(file.read_bytes())}
    except OSError:  # dpkg has just put it into its table
        return {}


def _owns(file: Path, root: Path, sites: Collection[Site], needed: Collection[str]) -> bool:
    """Whether a package's list names one of these distributions in one of these folders: its metadata, or a module that
    is called like it."""
    try:
        text = file.read_bytes()
    except OSError:
        return False
    for site in sites:
        where = b"\n/" + os.fsencode(os.path.relpath(site.path, root)) + b"/"
        for rest in text.split(where)[1:] if where in text else ():
            top = os.fsdecode(rest.partition(b"\n")[0].partition(b"/")[0])
            if (of_metadata(top) or normalise(top.partition(".")[0])) in needed:
                return True
    return False


def _parents(process: int, proc: Path) -> Iterator[str]:
    """Yield the process ids of those that stand behind a process, the nearest first."""
    with contextlib.suppress(OSError, IndexError):  # it has just ended
        while process > 1:
            process = int(process_stat.fields(process, proc)[process_stat.PARENT])
            yield str(process)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _stamps(*paths: Path) -> object:
    """None where the first is missing."""
    found: list[object] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            if not found:
                return None
            continue
        found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found
