"""What a generation gets a copy of beside what is watched, told by what the application's interpreter says of itself:
the virtual environment, and of the system's packages those that are needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from trapd.content import Environment
from trapd.file_stamp import identity
from trapd.watch.distributions import Distribution, Kind
from trapd.watch.interpreter import Answer
from trapd.watch.record_file import read_record
from trapd.watch.sites import Site, find

AUTO = "auto"
CONFIGURATION = "pyvenv.cfg"
NO_ENVIRONMENT = (
    "cannot copy the environment of {python}: it is a program that starts an interpreter; name the interpreter itself "
    'in [app] python, or set [watch] snapshot = "distributions"'
)


class Describer:
    """Describes environments, and remembers what it read so that the next costs little."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[object, frozenset[str]]] = {}  # metadata -> stamp of its RECORD, names

    def keep(self, described: Collection[Path]) -> None:
        """Forget what is not among this metadata: of a version that is gone nobody asks again."""
        self._read = {info: known for info, known in self._read.items() if info in described}

    def describe(
        self,
        answer: Answer,
        python: Path,
        found: Sequence[Distribution],
        sites: Sequence[Site] = (),
        needed: Iterable[str] = (),
    ) -> Environment | None:
        """The environment; None where ``python`` is no interpreter, or none that is where it says it is.

        A script that starts an interpreter under another name is none: what the script sets would be lost.
        ``found``: the distributions that were located, with all that is copied from where it is, not from here.
        ``needed``: normalised names of what is copied where the system's packages are in use.
        Raises OSError if something vanishes meanwhile.
        """
        if not answer.executable:
            return None
        virtual = answer.prefix != answer.base_prefix
        prefix, executable = Path(os.path.realpath(answer.prefix)), _in_real_folder(Path(answer.executable))
        if executable != _in_real_folder(python) or executable.parent != prefix / "bin":
            return None
        if virtual and not (prefix / CONFIGURATION).is_file():
            return None
        places = _sites(prefix, answer.libraries) if virtual else {}
        site = next(iter(places), answer.place)
        parts = self._parts(sites, {*answer.shared} - {*places.values()}, needed, found) if site else {}
        taken = _names(places.get(site))
        return Environment(
            str(prefix),
            executable.name,
            places,
            frozenset(hook for distribution in found for hook in _hooks(distribution)),
            {f"{site}/{name}": part for name, part in parts.items() if name not in taken},
            site,
            virtual,
        )

    def _parts(
        self, sites: Sequence[Site], shared: set[str], needed: Iterable[str], found: Iterable[Distribution]
    ) -> dict[str, str]:
        """Name -> what is called so in a shared folder, and belongs to something needed. The first folder wins."""
        located = {(distribution.site.path, distribution.metadata): distribution for distribution in found}
        parts: dict[str, str] = {}
        for name in sorted(needed):
            there = find(sites, name)
            if there is None or str(there[0].path) not in shared:
                continue
            folder, metadata = there[0].path, there[1]
            for top in sorted(self._names(folder / metadata, located.get((folder, metadata)))):
                if top in there[0].names:
                    parts.setdefault(top, str(folder / top))
        return parts

    def _names(self, metadata: Path, located: Distribution | None) -> frozenset[str]:
        """What in a shared folder belongs to a distribution: its packages, modules and metadata."""
        if located is not None:
            files = () if located.from_source else located.files
            return frozenset({metadata.name, *(PurePosixPath(file.path).parts[0] for file in files)})
        stamp = identity((metadata / "RECORD").stat())
        known = self._read.get(metadata)
        if known is None or known[0] != stamp:
            tops = {PurePosixPath(line.path).parts[0] for line in read_record(metadata)} - {"__pycache__"}
            known = self._read[metadata] = stamp, frozenset({*tops, metadata.name})
        return known[1]


def _in_real_folder(path: Path) -> Path:
    """An interpreter's own link, which leads out of its environment, is not followed."""
    return Path(os.path.realpath(path.parent), path.name)


def _sites(prefix: Path, libraries: Iterable[str]) -> dict[str, str]:
    """purelib and platlib are mostly one folder, under two names where ``lib64`` is a link."""
    sites: dict[str, str] = {}
    for library in map(Path, libraries):
        real = Path(os.path.realpath(library))
        place = real if real.is_relative_to(prefix) else _in_real_folder(library)
        if place.is_relative_to(prefix) and str(real) not in sites.values():
            sites[str(place.relative_to(prefix))] = str(real)
    return sites


def _names(site: str | None) -> frozenset[str]:
    """What has its place in the virtual environment already."""
    return frozenset(os.listdir(site)) if site and Path(site).is_dir() else frozenset()  # noqa: PTH208  names alone


def _hooks(distribution: Distribution) -> Iterator[str]:
    """What an installer wrote beside the metadata of an editable install, so that its sources are found: a path file,
    or one that starts a finder, and the finder. All of them are in RECORD; links are not."""
    if distribution.kind is Kind.EDITABLE and distribution.has_code:
        own = {name for folder in distribution.files.folders if not folder.path for name in folder.all_names}
        for line in distribution.record:
            path = PurePosixPath(line.path)
            if len(path.parts) == 1 and path.suffix in (".pth", ".py") and line.path not in own:
                yield str(distribution.site.path / path)
