"""A generation's ``env``: the application's virtual environment once more. A worker that starts in it is closed.

Whatever lies in a site-packages is a copy. Every other entry of the environment (``share``, ``lib/*.so``, programs in
``bin``) is a link to the original, so that what looks for it from ``sys.prefix``, or by an RPATH of
``$ORIGIN/../../..``, finds it. For a system's interpreter ``env`` is made as ``python -m venv --system-site-packages``
makes one, with copies of those of the system's packages that are needed. Path files that name copied sources name the
copies instead, by relative paths: then a copy of the generation under another number needs no other text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from trapd.content import Environment
from trapd.errors import SnapshotError
from trapd.generations.copying import CACHE
from trapd.generations.installed import STASH, Contents, Site, relative
from trapd.generations.manifest import CODE
from trapd.generations.mirror import home
from trapd.generations.moves import ENV, Moves
from trapd.generations.stamps import NOTHING, Memory, Seen, Stamp, settled, stamp
from trapd.generations.table import Entry
from trapd.model import TreeFile
from trapd.mount_table import is_noexec

PYTHON = f"{ENV}/bin/python"
CONFIGURATION = "pyvenv.cfg"
TREES = "_trapd.pth"  # our own path file, in the first of the site-packages
_DATA = ("etc", "include", "share")


def contents(environment: Environment, moves: Moves, roots: Sequence[str], memory: Memory = NOTHING) -> Contents:
    """List what ``env`` is to hold; nothing of it is read but path files. Raises OSError if something vanishes.

    ``roots``: the projects' folders that are copied. ``memory``: what was installed when it was copied before.
    """
    found = Contents()
    _Prefix(environment, found).walk()
    for place, source in environment.sites.items():
        Site(environment, moves, memory, source, f"{ENV}/{place}").walk(found)
    for place, source in environment.parts.items():
        folder, name = place.rpartition("/")[0], source.rpartition("/")[0]
        Site(environment, moves, memory, name, f"{ENV}/{folder}").take(Path(source).name, found)
    found.links |= {link: relative(place, link.rpartition("/")[0]) for link, place in moves.first().items()}
    if environment.site and (trees := [*([CODE] if _has_code(moves) else []), *map(home, roots)]):
        site = f"{ENV}/{environment.site}"
        found.texts[f"{site}/{TREES}"] = os.fsencode("".join(f"{relative(tree, site)}\n" for tree in trees))
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
    """Raise SnapshotError if what is installed has changed since it was listed.

    A folder that looked as it did at the last copying had not changed until it was listed. So it fits to the rest
    unless something in that is younger.
    """
    for source, before in found.stamps.items():
        try:
            same = stamp(os.lstat(source)) == before or _has_old_names(Path(source), found)
        except FileNotFoundError:
            same = False
        if not same:
            raise _changed(source)
    if all(settled(changed, found.began) for _, _, changed, _ in found.stamps.values()):
        return
    for folder in found.same:
        try:
            same = folder.is_still()
        except FileNotFoundError:
            same = False
        if not same:
            raise _changed(folder.source)


def _changed(source: str) -> SnapshotError:
    return SnapshotError(f"cannot copy {source}: it has changed since it was looked at")


def seen(found: Contents, memory: Memory, entries: Iterable[Entry]) -> Iterator[tuple[str, Seen]]:
    """What is worth remembering of each installed folder. ``entries``: of the snapshot's table, for the files that were
    copied as they were listed. ``memory``: what ``contents`` had."""
    digests = {entry.path: entry.digest for entry in entries}
    folders: dict[str, list[TreeFile]] = {source: [] for source in found.marks}
    for file in found.files:
        folders.setdefault(file.source.rpartition("/")[0], []).append(file)
    for folder, files in folders.items():
        known: dict[str, tuple[Stamp, str]] = {}
        for file in files:
            mark = found.stamps.get(file.source)
            if mark and (digest := digests.get(file.path)) and settled(mark[2], found.began):
                known[file.source[len(folder) + 1 :]] = mark, digest
        if known or folder in found.marks:
            yield folder, Seen.of(found.marks.get(folder, ""), known)
    yield from ((folder.source, memory.folders[folder.source]) for folder in found.same)


def _has_old_names(folder: Path, found: Contents) -> bool:
    """Whether nothing is new in this folder but what Python has compiled."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = (path for path in folder.iterdir() if path.name != CACHE and not path.name.startswith(STASH))
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
