"""Which folders have to be watched, so that any change to what would run is heard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trapd.watch.distributions import Distribution
from trapd.watch.installers import GIT_AT_WORK, git_folder
from trapd.watch.sites import Site

# Not index.lock: every `git status` makes and removes one, and a look that finds one is repeated anyway.
_GIT = frozenset(GIT_AT_WORK) - {"index.lock"}


@dataclass(frozen=True, slots=True)
class Places:
    """``trees``: everything below matters; the folders in them, with their inodes, tell one tree from its successor.
    ``folders``: only what is directly in them matters, and of that only these names (None: every name).
    ``above``: of these only which folders have these names matters, in case one takes the place of another."""

    trees: Mapping[Path, frozenset[tuple[str, int]]] = field(default_factory=dict)
    folders: Mapping[Path, frozenset[str] | None] = field(default_factory=dict)
    above: Mapping[Path, frozenset[str]] = field(default_factory=dict)

    @property
    def all(self) -> frozenset[Path]:
        """Every folder in which anything matters."""
        return frozenset((*self.trees, *self.folders, *self.above))


def places(
    python: Path,
    celeryconfig: Path,
    paths: Iterable[str],
    sites: Iterable[Site],
    found: Sequence[Distribution],
    absent: Sequence[str] = (),
) -> Places:
    """Where to listen, given what is there now: ``sites`` are those of ``paths`` (the import path) that are there.

    Raises OSError if something vanishes meanwhile.
    """
    trees = {top: folders for distribution in found for top, folders in distribution.trees.items()}
    folders: dict[Path, frozenset[str] | None] = {}
    above: dict[Path, frozenset[str]] = {}

    def watch(folder: Path, names: Iterable[str] | None) -> None:
        known = folders.get(folder, frozenset())
        folders[folder] = None if names is None or known is None else known | frozenset(names)

    # what is awaited may come under a name that nobody knows yet
    lost = bool(absent) or any(distribution.from_source and not distribution.has_code for distribution in found)
    for site in sites:
        watch(site.path, None if site.installed or lost else _of_source(site, found))
    for distribution in found:
        for git in {git_folder(top) for top in distribution.trees} if distribution.from_source else ():
            if git is not None:
                watch(git, _GIT)
    for path in (
        celeryconfig,
        python,
        *map(Path, paths),
        *(way for distribution in found for way in distribution.ways),
    ):
        for folder, name, passed in _way_to(path):
            if passed:
                above[folder] = above.get(folder, frozenset()) | {name}
            else:
                watch(folder, [name])
    folders = {folder: names for folder, names in folders.items() if names is None or names}
    for folder in folders.keys() & above.keys():
        watch(folder, above.pop(folder))
    return Places(trees, folders, above)


def _of_source(site: Site, found: Sequence[Distribution]) -> set[str]:
    """In a source tree lie notes and test results too: only the watched top-level names matter."""
    here = {top.name for distribution in found for top in distribution.trees if top.parent == site.path}
    modules = {
        folder.called or name
        for distribution in found
        for folder in distribution.files.folders
        if folder.source == str(site.path)
        for name in folder.all_names
    }
    return here | modules | {name for names in site.metadata.values() for name in names}


def _way_to(path: Path) -> Iterator[tuple[Path, str, bool]]:
    """The entries that decide what is found at ``path``: each link on the way, and the last one; or the first that is
    missing. And, marked with True, each folder that is passed: another may be put in its place."""
    seen: set[Path] = set()
    way = path.absolute()
    while True:
        here = Path(way.anchor)
        for count, part in enumerate(way.parts[1:], start=2):
            parent, here = here, here / part
            if here.is_symlink() and here not in seen:
                seen.add(here)
                yield parent.resolve(), part, False
                way = parent.joinpath(here.readlink(), *way.parts[count:])
                break
            if count == len(way.parts) or not here.exists():
                yield parent.resolve(), part, False
                return
            if part != "..":
                yield parent.resolve(), part, True
        else:
            return
