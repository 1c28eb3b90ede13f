"""A generation's ``env``: the application's virtual environment once more. A worker that starts in it is closed.

Whatever lies in a site-packages is a copy. Every other entry of the environment (``share``, ``lib/*.so``, programs in
``bin``) is a link to the original, so that what looks for it from ``sys.prefix``, or by an RPATH of
``$ORIGIN/../../..``, finds it. For a system's interpreter ``env`` is made as ``python -m venv --system-site-packages``
makes one, with copies of those of the system's packages that are needed. Path files that name copied sources name the
copies instead, by relative paths: then a copy of the generation under another number needs no other text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from trapd.content import Environment
from trapd.errors import SnapshotError
from trapd.generations.copying import CACHE
from trapd.generations.manifest import CODE
from trapd.generations.mirror import home
from trapd.generations.moves import ENV, Moves
from trapd.generations.stamps import Known, Stamp, stamp
from trapd.generations.table import Entry
from trapd.model import TreeFile
from trapd.mount_table import is_noexec

PYTHON = f"{ENV}/bin/python"
CONFIGURATION = "pyvenv.cfg"
TREES = "_trapd.pth"  # our own path file, in the first of the site-packages
LARGEST = 64 << 20  # bytes behind a link out of the environment; what is larger holds data, and stays where it is
_DATA = ("etc", "include", "share")
_STASH = "~"  # what pip moves aside begins so, and cannot be imported
_CODE_LINE = ("import ", "import\t")
_NOTHING: Known = {}


@dataclass(slots=True)
class Contents:
    """Everything that ``env`` consists of. Places are relative to the snapshot."""

    files: list[TreeFile] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # place -> what the link says
    texts: dict[str, bytes] = field(default_factory=dict)  # place -> content of a file that is not a mere copy
    closed: list[str] = field(default_factory=list)  # what cannot be read, and is left out: nothing that is counted
    stamps: dict[str, Stamp] = field(default_factory=dict)  # of all that is installed, folders too, when it was listed


def contents(environment: Environment, moves: Moves, roots: Sequence[str], known: Known = _NOTHING) -> Contents:
    """List what ``env`` is to hold; nothing of it is read but path files. Raises OSError if something vanishes.

    ``roots``: the projects' folders that are copied. ``known``: digests of files when they were copied before.
    """
    found = Contents()
    _Prefix(environment, found).walk()
    for place, source in environment.sites.items():
        _Site(environment, moves, known, source, f"{ENV}/{place}").walk(found)
    for place, source in environment.parts.items():
        folder, name = place.rpartition("/")[0], source.rpartition("/")[0]
        _Site(environment, moves, known, name, f"{ENV}/{folder}").take(Path(source).name, found)
    found.links |= {link: _relative(place, link.rpartition("/")[0]) for link, place in moves.first().items()}
    if environment.site and (trees := [*([CODE] if _has_code(moves) else []), *map(home, roots)]):
        site = f"{ENV}/{environment.site}"
        found.texts[f"{site}/{TREES}"] = os.fsencode("".join(f"{_relative(tree, site)}\n" for tree in trees))
    return found


def permit(folder: Path) -> None:
    """Raise SnapshotError if no shared object can be loaded from this folder; OSError."""
    if is_noexec(folder):
        raise SnapshotError(
            f"cannot copy the environment to {folder}: its file system is mounted with noexec, and no shared object "
            'can be loaded from it; change [trapd] state_directory, or set [watch] snapshot = "distributions"'
        )


def link(snapshot: Path, found: Contents) -> None:
    """Make the links. Raises OSError."""
    for place, target in found.links.items():
        _parent(snapshot / place).symlink_to(target)


def confirm(found: Contents) -> None:
    """Raise SnapshotError if what is installed has changed since it was listed."""
    for source, before in found.stamps.items():
        try:
            same = stamp(os.lstat(source)) == before or _has_old_names(Path(source), found)
        except FileNotFoundError:
            same = False
        if not same:
            raise SnapshotError(f"cannot copy {source}: it has changed since it was looked at")


def copied(found: Contents, entries: Iterable[Entry]) -> Iterator[tuple[str, Stamp, str]]:
    """Source, stamp and digest of each file that was copied as it was listed. ``entries``: the snapshot's table."""
    sources = {file.path: file.source for file in found.files if file.source in found.stamps}
    for entry in entries:
        if source := sources.get(entry.path):
            yield source, found.stamps[source], entry.digest


def _has_old_names(folder: Path, found: Contents) -> bool:
    """Whether nothing is new in this folder but what Python has compiled."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = (path for path in folder.iterdir() if path.name != CACHE and not path.name.startswith(_STASH))
    return all(str(path) in found.stamps for path in names)


def relink(old: Path, new: Path) -> None:
    """Make the links of one snapshot's environment in another, which is a copy of it. Raises OSError."""
    for folder, folders, names in [*os.walk(old / ENV), *os.walk(old / CODE)]:
        for path in (Path(folder, name) for name in [*folders, *names]):
            if path.is_symlink():
                _parent(new / path.relative_to(old)).symlink_to(path.readlink())


def _parent(path: Path) -> Path:
    """The path itself, once its folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _relative(place: str, folder: str) -> str:
    """How a path file, or a link, in ``folder`` names ``place``; both are relative to the snapshot."""
    return os.path.relpath(f"/{place}", f"/{folder}")


def _is_there(path: Path, found: Contents) -> bool:
    """Whether a link has an end. One whose end is not for us to see has none."""
    try:
        return path.exists()
    except PermissionError:
        found.closed.append(str(path))
        return False


def _has_code(moves: Moves) -> bool:
    return any(file.path.startswith(f"{CODE}/") for file in moves.apart)


class _Prefix:
    """Everything but what is installed: folders on the way to it, and links."""

    def __init__(self, environment: Environment, found: Contents) -> None:
        self._environment, self._found = environment, found
        self._top = Path(environment.prefix)
        self._ways = {str(folder) for place in environment.sites for folder in PurePosixPath(place).parents}

    def walk(self) -> None:
        if self._environment.virtual:
            self._folder("")
            self._programs()
        else:
            self._system()

    def _system(self) -> None:
        """As ``python -m venv --system-site-packages`` makes one, with data that is looked for from ``sys.prefix``."""
        text = f"home = {self._top / 'bin'}\ninclude-system-site-packages = true\n"
        self._found.texts[f"{ENV}/{CONFIGURATION}"] = os.fsencode(text)
        data = {name: self._top / name for name in _DATA if (self._top / name).is_dir()}
        self._found.links |= {f"{ENV}/{name}": str(path) for name, path in data.items()}
        python = self._top / "bin" / self._environment.python
        self._found.links[PYTHON] = str(python)
        names = {python.name, "python3", Path(os.path.realpath(python)).name} - {"python"}
        self._found.links |= {f"{ENV}/bin/{name}": "python" for name in names}

    def _folder(self, place: str) -> None:
        with os.scandir(self._top / place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                inner = f"{place}/{entry.name}".lstrip("/")
                if inner in self._environment.sites or inner == "bin" or entry.name == CACHE:
                    continue
                if inner == CONFIGURATION:
                    self._found.files.append(TreeFile(f"{ENV}/{inner}", entry.path, ""))
                elif inner in self._ways and not entry.is_symlink():
                    self._folder(inner)
                else:
                    self._found.links[f"{ENV}/{inner}"] = self._target(Path(entry.path))

    def _target(self, path: Path) -> str:
        """A link from one part of the environment to another (``lib64``) leads to the same part of the copy."""
        if path.is_symlink():
            said = path.readlink()
            if not said.is_absolute() and Path(os.path.normpath(path.parent / said)).is_relative_to(self._top):
                return str(said)
        return str(path)

    def _programs(self) -> None:
        """The interpreter under each of its names is that of the copy. All other programs are those that are installed:
        their first line names the installed interpreter."""
        folder = self._top / "bin"
        python = folder / self._environment.python
        base = os.path.realpath(python)
        self._found.links[PYTHON] = str(self._base(python))
        for path in sorted({python, *folder.iterdir()} - {folder / "python"}):
            same = os.path.realpath(path) == base
            self._found.links[f"{ENV}/bin/{path.name}"] = "python" if same else str(path)

    def _base(self, python: Path) -> Path:
        """The first place outside the environment, as it is named there: a link in it may lead to the interpreter's
        next patch release, as the environment's own does. An environment made of copies has its own interpreter."""
        here, seen = python, set()
        while here.is_symlink() and here.is_relative_to(self._top) and here not in seen:
            seen.add(here)
            here = Path(os.path.normpath(here.parent / here.readlink()))
        return here


class _Site:
    """One folder of installed packages."""

    def __init__(self, environment: Environment, moves: Moves, known: Known, source: str, place: str) -> None:
        self._hooks, self._moves, self._known = environment.hooks, moves, known
        self._source, self._place = source, place
        self._within = Path(source)  # of which there are copies
        self._named = Path(environment.prefix, place.removeprefix(f"{ENV}/"))  # as Python has it

    def walk(self, found: Contents) -> None:
        found.stamps[self._source] = stamp(os.lstat(self._source))
        self._folder(self._source, self._place, frozenset(), found)

    def _folder(self, source: str, place: str, above: frozenset[Path], found: Contents) -> None:
        """``above``: the real folders that this one is in, as far as links have led out; none is entered again."""
        try:
            with os.scandir(source) as entries:
                listed = [(entry, entry.stat(follow_symlinks=False)) for entry in entries]
        except PermissionError:
            found.closed.append(source)
            return
        for entry, status in sorted(listed, key=lambda found: found[0].name):
            inner, name = f"{place}/{entry.name}", entry.name
            if name == CACHE and not entry.is_symlink():
                self._compiled(entry.path, inner, found)
            elif not name.startswith(_STASH):
                self._entry(entry.path, inner, status, above, found)

    def take(self, name: str, found: Contents) -> None:
        """One package, module or metadata alone."""
        path = Path(self._source, name)
        self._within, self._named = path, Path(self._source)
        self._entry(str(path), f"{self._place}/{name}", path.lstat(), frozenset(), found)

    def _entry(self, path: str, place: str, status: os.stat_result, above: frozenset[Path], found: Contents) -> None:
        found.stamps[path] = stamp(status)
        if path in self._hooks:
            return
        if stat.S_ISLNK(status.st_mode):
            self._link(path, place, above, found)
        elif stat.S_ISDIR(status.st_mode):
            self._folder(path, place, above, found)
        elif path.endswith(".pth") and path.rpartition("/")[0] == self._source:
            self._path_file(path, place, found)
        else:
            self._file(path, place, status, found)

    def _compiled(self, source: str, place: str, found: Contents) -> None:
        """Python replaces these as it likes, and does without those that cannot be read."""
        names = list[str]()
        with suppress(PermissionError):
            names = sorted(name for name in os.listdir(source) if name.endswith(".pyc"))  # noqa: PTH208  half as slow
        found.files += [TreeFile(f"{place}/{name}", f"{source}/{name}", "") for name in names]

    def _file(self, source: str, place: str, status: os.stat_result, found: Contents) -> None:
        """A file that nobody counts, and that we may not read, is left out."""
        if not stat.S_ISREG(status.st_mode):
            return
        digest = self._moves.digests.get(source)
        if digest is None and not os.access(source, os.R_OK, effective_ids=True):
            found.closed.append(source)
            return
        before = None if digest else self._known.get(source)
        if before and before[0] == stamp(status):
            digest = before[1]
        found.files.append(TreeFile(place, source, digest or ""))

    def _link(self, source: str, place: str, above: frozenset[Path], found: Contents) -> None:
        real, said = Path(os.path.realpath(source)), Path(source).readlink()
        if copy := self._moves.of_project(str(real)):
            found.links[place] = _relative(copy, place.rpartition("/")[0])
        elif (
            not _is_there(real, found) or real in above or Path(self._source).is_relative_to(real)
        ):  # a link up has no end
            return
        elif not said.is_absolute() and real.is_relative_to(self._within):
            found.links[place] = str(said)
        elif real.is_dir():
            behind = Contents()
            self._folder(source, place, above | {real}, behind)
            if sum(Path(file.source).stat().st_size for file in behind.files) > LARGEST:
                found.links[place] = str(real)
                return
            found.files += behind.files
            found.closed += behind.closed
            found.links |= behind.links
            found.stamps |= behind.stamps
        else:
            status = real.stat()
            found.stamps[str(real)] = stamp(status)
            self._file(source, place, status, found)

    def _path_file(self, source: str, place: str, found: Contents) -> None:
        if not os.access(source, os.R_OK, effective_ids=True):
            found.closed.append(source)
            return
        old = Path(source).read_bytes()
        new = b"".join(map(self._line, old.splitlines(keepends=True)))
        if new == old:
            self._file(source, place, Path(source).stat(), found)
        else:
            found.texts[place] = new

    def _line(self, line: bytes) -> bytes:
        text = os.fsdecode(line).rstrip()
        if not text or text.startswith(("#", *_CODE_LINE)) or "\0" in text:
            return line
        named = os.path.normpath(self._named / text)
        copy = self._moves.of(named) or self._moves.of(os.path.realpath(named))
        if copy:
            return os.fsencode(f"./{_relative(copy, self._place)}\n")
        return line if text.startswith("/") else os.fsencode(f"{named}\n")
