"""What lies on the import path: installed metadata by name, and what pip left while at work. One listing a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trapd.content import normalise as normalise

_METADATA = re.compile(r"(?P<name>.+?)(?:-(?P<version>\d[^-]*)(?:-py\d.*)?)?\.(?:dist|egg)-info")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^]]*)\])?")
_PIN = re.compile(r"===?\s*([\w.!+-]+)")  # not ==1.4.*
_EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)|["']([^"']+)["']\s*==\s*extra\b""")
_STASH_FILLER = "-~.=%0123456789"  # what pip puts for the first letters of a name it moves aside
_OF_SYSTEM = ("/usr/lib/python3", "/usr/lib64/python3")


@dataclass(frozen=True, slots=True)
class Site:
    """One folder of the import path."""

    path: Path  # links resolved
    names: frozenset[str]  # everything directly in it
    metadata: dict[str, list[str]] = field(default_factory=dict)  # normalised name -> *.dist-info and *.egg-info
    stashes: tuple[str, ...] = ()  # ~*

    @property
    def installed(self) -> bool:
        """Whether installers own this folder; otherwise it is somebody's source tree."""
        return is_installed(self.path)

    @property
    def of_system(self) -> bool:
        """Whether the system's own package manager fills this folder, and nobody else."""
        return str(self.path).startswith(_OF_SYSTEM)

    def has(self, module: str) -> bool:
        """Whether importing ``module`` from this folder finds something: a folder, a file or an extension."""
        return any(name.partition(".")[0] == module for name in self.names if _importable(name))

    def called_like(self, distribution: str) -> str | None:
        """What can be imported from here under the name of this distribution, in capitals or not."""
        stems = {name.partition(".")[0] for name in self.names if _importable(name)}
        wanted = normalise(distribution)
        return max((stem for stem in stems if stem.isidentifier() and normalise(stem) == wanted), default=None)


def is_installed(folder: Path) -> bool:
    """Whether installers own this folder of the import path: a site-packages, or an egg in one."""
    where = folder.parent if folder.suffix == ".egg" else folder
    return where.name in ("site-packages", "dist-packages")


def _importable(name: str) -> bool:
    return "." not in name or name.endswith((".py", ".so", ".pyc"))


def scan(paths: Iterable[str]) -> list[Site]:
    """List the folders, in order; those that cannot be read are left out, as the import system does."""
    sites: dict[Path, Site] = {}
    for given in paths:
        path = Path(os.path.realpath(given))  # not resolve(), which raises RuntimeError at a link to itself
        try:
            names = [entry.name for entry in path.iterdir()]
        except OSError:
            continue
        metadata: dict[str, list[str]] = {}
        for name in sorted(names):
            found = None if name.startswith("~") else _METADATA.fullmatch(name)
            if found:
                metadata.setdefault(normalise(found["name"]), []).append(name)
        stashes = tuple(sorted(name for name in names if name.startswith("~")))
        sites.setdefault(path, Site(path, frozenset(names), metadata, stashes))
    return list(sites.values())


def described(sites: Iterable[Site]) -> frozenset[Path]:
    """All metadata that is there: folders, and distutils' single files."""
    return frozenset(site.path / name for site in sites for names in site.metadata.values() for name in names)


def find(sites: Iterable[Site], name: str) -> tuple[Site, str] | None:
    """Where the metadata of a distribution is; the first on the path wins, as in importlib.metadata."""
    for site in sites:
        if names := site.metadata.get(normalise(name)):
            return site, max(names, key=lambda metadata: (metadata.endswith(".dist-info"), metadata))
    return None


def of_metadata(name: str) -> str:
    """The normalised name of the distribution whose metadata is called ``name``; empty for any other file."""
    found = _METADATA.fullmatch(name)
    return normalise(found["name"]) if found else ""


def is_stash_of(stash: str, name: str) -> bool:
    """Whether pip may have moved this distribution's package or metadata aside under the name ``stash``.

    pip replaces the first letters: trap becomes ~rap, then ~-ap, ~~ap ... if that is taken.
    """
    found = _METADATA.fullmatch(stash)
    stem, name = normalise(found["name"] if found else stash), normalise(name)
    if len(stem) == len(name):
        return any(stem[n:] == name[n:] and _filler(stem[1:n]) for n in range(1, len(name)))
    return stem.endswith(name) and _filler(stem[: -len(name)])


def _filler(letters: str) -> bool:
    return all(letter in _STASH_FILLER for letter in letters)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A Requires-Dist line. All names are normalised; of markers, only which extra they are about is read."""

    name: str
    extras: frozenset[str] = frozenset()  # of the required one
    only_for: frozenset[str] = frozenset()  # extras of the requiring one; empty: always
    pinned: str = ""  # the one version that will do


@dataclass(frozen=True, slots=True)
class Metadata:
    """The three headers that matter, of METADATA or PKG-INFO."""

    name: str = ""
    version: str = ""
    requires: tuple[Requirement, ...] = ()
    requires_dist: tuple[str, ...] = ()  # the same lines, as they are written


_cache: dict[Path, tuple[tuple[int, int, int], Metadata]] = {}  # a hundred of them are read at each look otherwise


def read_metadata(path: Path) -> Metadata:
    """Read the metadata at ``path`` (a folder, or distutils' single file); empty where there is none."""
    for file in (path / "METADATA", path / "PKG-INFO", path):
        try:
            stat = file.stat()
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if file not in _cache or _cache[file][0] != stamp:
                _cache[file] = (stamp, _parse(file.read_text("utf-8", "replace")))
            return _cache[file][1]
        except OSError:
            continue
    return Metadata()


def forget_metadata(kept: Collection[Path]) -> None:
    """Forget what was read of metadata elsewhere. A folder of metadata has the version in its name: nobody asks for it
    again after the next upgrade, and what is remembered of it would grow with each."""
    for file in [file for file in _cache if file not in kept and file.parent not in kept]:
        _cache.pop(file, None)


def _parse(text: str) -> Metadata:
    headers, _, _ = text.partition("\n\n")
    name = version = ""
    requires: list[Requirement] = []
    lines: list[str] = []
    for line in headers.splitlines():
        key, _, value = line.partition(":")
        match key:
            case "Name":
                name = value.strip()
            case "Version":
                version = value.strip()
            case "Requires-Dist":
                requires += _requirement(value)
                lines.append(value.strip())
    return Metadata(name, version, tuple(requires), tuple(lines))


def _requirement(text: str) -> Iterator[Requirement]:
    requirement, _, marker = text.partition(";")
    if found := _REQUIREMENT.match(requirement):
        extras = [extra.strip() for extra in (found[2] or "").split(",")]
        only_for = [left or right for left, right in _EXTRA.findall(marker)]
        pinned = _PIN.fullmatch(requirement[found.end() :].strip(" ()"))
        yield Requirement(normalise(found[1]), _all(extras), _all(only_for), pinned[1] if pinned else "")


def _all(names: Iterable[str]) -> frozenset[str]:
    return frozenset(normalise(name) for name in names if name)


def closure(sites: list[Site], names: Iterable[str]) -> dict[str, str]:
    """Normalised name -> version of the distributions and all that they require, as far as they are installed."""
    found = required(sites, names)
    return {name: read_metadata(where[0].path / where[1]).version for name, where in found.items() if where}


def required(sites: list[Site], names: Iterable[str]) -> dict[str, tuple[Site, str] | None]:
    """Normalised name -> where the metadata is, of the distributions and all that they require; None: not installed."""
    found: dict[str, tuple[Site, str] | None] = {}
    done: set[Requirement] = set()
    waiting = [Requirement(normalise(name)) for name in names]
    while waiting:
        wanted = waiting.pop()
        if wanted in done:
            continue
        done.add(wanted)
        found[wanted.name] = where = find(sites, wanted.name)
        if where is not None:
            metadata = read_metadata(where[0].path / where[1])
            waiting += [one for one in metadata.requires if not one.only_for or one.only_for & wanted.extras]
    return found
