"""Finds a distribution's files, however it was installed.

recorded   a wheel: RECORD says which files are its own
packaged   as Debian does it: metadata without a RECORD, packages named by top_level.txt or like the distribution
editable   ``pip install -e``: metadata in site-packages, the files in somebody's source tree
plain      a folder or module on the import path, without any metadata; in a project's folder with its neighbours
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from trapd.content import UNKNOWN
from trapd.folders import Files, Folder, SourceFile, single, together
from trapd.watch.ignore import is_no_code
from trapd.watch.projects import modules, packages
from trapd.watch.record_file import Layout, Layouts, Recorded, is_below, read_record
from trapd.watch.sites import Site, find, read_metadata
from trapd.watch.tree import is_sourceless, walk

# Of the metadata, what says how and from where something was installed, not what: the same wheel again is no change.
HOW = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json", "uv_cache.json", "uv_build.json", "SOURCES.txt"}
)
_LIBRARY = (".py", ".so")


class Kind(Enum):
    """How it was installed."""

    RECORDED = auto()
    PACKAGED = auto()
    EDITABLE = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution that was found."""

    name: str  # as it was asked for
    version: str
    kind: Kind
    site: Site  # where its metadata is, or its files if it has none
    metadata: str = ""  # name of the metadata folder or file in ``site``
    installer: str = ""
    files: Files = field(default_factory=Files)
    record: tuple[Recorded, ...] = ()  # of an editable install, which has few lines
    trees: Mapping[Path, frozenset[tuple[str, int]]] = field(default_factory=dict)  # top -> its folders
    ways: frozenset[Path] = frozenset()  # where its folders and modules are, or would be, as they are named
    litter: tuple[str, ...] = ()

    @property
    def from_source(self) -> bool:
        """Whether people and git edit its files, not installers."""
        return self.kind is Kind.EDITABLE or not self.site.installed

    @property
    def has_code(self) -> bool:
        """Whether there is anything of it but metadata."""
        inside = f"{self.metadata}/"
        return any(
            folder.text and not (self.metadata and f"{folder.path}/".startswith(inside))
            for folder in self.files.folders
        )


class _Finds:
    """Collects files and trees of one distribution. Of two files for one path the first counts."""

    def __init__(self, *, compiled: bool) -> None:
        self._compiled = compiled
        self._walked: dict[str, list[Folder]] = {}  # path -> what was found there
        self._named: dict[str, SourceFile] = {}
        self._metadata: list[SourceFile] = []  # of what has no folder of it
        self.trees: dict[Path, frozenset[tuple[str, int]]] = {}
        self.ways: set[Path] = set()
        self.litter: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._walked or self._named)

    def add(self, file: SourceFile) -> None:
        if not self._has(file.path):
            self._named[file.path] = file

    def folder(self, top: Path, prefix: str) -> None:
        tree = walk(top, prefix, compiled=self._compiled)
        for folder in tree.files:
            self._add_folder(folder)
        # events do not pass a link: what is behind one has to be listened to where it is
        for place in {top.resolve(), *(link.resolve() for link in tree.links if link.is_dir())}:
            self.trees[place] = frozenset(tree.folders)
        self.ways.update(tree.links)
        self.litter += tree.litter

    def metadata(self, path: Path) -> None:
        if path.is_dir():
            tree = walk(path, path.name, compiled=False)
            self.litter += tree.litter
            for folder in tree.files:
                for file in folder:
                    how = PurePosixPath(file.path).name in HOW
                    self.add(SourceFile(file.path, file.source, counted=not how))
        elif path.is_file():
            self._metadata.append(SourceFile(path.name, str(path)))

    def files(self) -> Files:
        """Raises OSError if one of them vanishes."""
        walked = [folder for folders in self._walked.values() for folder in folders]
        return Files((*walked, *together(self._named.values()), *map(single, self._metadata)))

    def _add_folder(self, folder: Folder) -> None:
        there = self._walked.setdefault(folder.path, [])
        known = {name for other in there for name in other.all_names}
        known |= {name for name in folder.all_names if self._named and f"{folder.path}/{name}" in self._named}
        if known:
            folder = folder.without(frozenset(known))
        if len(folder):
            there.append(folder)

    def _has(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return path in self._named or any(name in other.all_names for other in self._walked.get(folder, ()))

    def planned(self, source: Path, name: str) -> None:
        """A file or folder that has been given its place by name."""
        self.ways.add(source)
        if source.is_dir():
            self.folder(source, name)
        elif source.is_file():  # otherwise it is not built yet
            self.add(SourceFile(name, str(source), counted=not is_no_code(source.name)))
            if source.name == "__init__.py":
                self.trees.setdefault(source.parent, frozenset())

    def module(self, site: Path, name: str, stem: str) -> bool:
        """A folder or file that ``import`` would take for ``stem``, put at ``name``."""
        top = site / stem
        self.ways.add(top)
        if top.is_dir():
            self.folder(top, name)
            return True
        beside = top.parent.glob(f"{glob.escape(top.name)}.*")
        found = [f for f in beside if (f.name.endswith(_LIBRARY) or is_sourceless(f)) and f.is_file()]
        for file in found:
            self.add(SourceFile(f"{name}{file.name[len(top.name) :]}", str(file)))
        self.ways.update(found or [top.with_name(f"{top.name}.py")])
        return bool(found)


def locate(
    name: str, sites: Sequence[Site], editable: Mapping[str, str], layouts: Layouts | None = None
) -> Distribution | None:
    """Find one distribution; None if it is not installed. ``editable``: what finders of editable installs map to where.
    ``layouts``: what is remembered of RECORDs.

    Raises OSError if something vanishes under the walk.
    """
    found = find(sites, name)
    if found is None:
        return _plain(name, sites)
    site, metadata = found
    info = site.path / metadata
    if _is_editable(info):
        return _editable(name, site, metadata, sites, editable)
    layout = (layouts or Layouts()).of(info)
    if layout.recorded:
        return _recorded(name, site, metadata, layout)
    return _packaged(name, site, metadata)


def _recorded(name: str, site: Site, metadata: str, layout: Layout) -> Distribution:
    """Folders with an ``__init__`` in RECORD are its own and walked whole: Python imports what lies in them, listed or
    not. Of folders that several distributions share, which an ``__init__`` may declare, only what is listed."""
    finds = _Finds(compiled=True)
    own = layout.tops(site.path)
    for folder in sorted(own):
        if (top := site.path / folder).is_dir():
            finds.folder(top, folder)
    for path in layout.outside(own):
        source = site.path / path
        name_of_file = path.rpartition("/")[2]
        if source.is_file() and (not path.endswith(".pyc") or is_sourceless(source)):
            finds.add(SourceFile(path, str(source), counted=not is_no_code(name_of_file)))
            if "/" in path:
                finds.trees.setdefault(site.path / path.partition("/")[0], frozenset())
    finds.metadata(site.path / metadata)
    return _finish(name, Kind.RECORDED, site, metadata, finds)


def _packaged(name: str, site: Site, metadata: str) -> Distribution:
    finds = _Finds(compiled=site.installed)
    for module in _top_level(site.path / metadata, name, [site]):
        finds.module(site.path, module, module)
    finds.metadata(site.path / metadata)
    return _finish(name, Kind.PACKAGED, site, metadata, finds)


def _editable(name: str, site: Site, metadata: str, sites: Sequence[Site], editable: Mapping[str, str]) -> Distribution:
    info = site.path / metadata
    finds = _Finds(compiled=False)
    url = _direct_url(info)
    source = Path(unquote(str(url.get("url", "")).removeprefix("file://"), errors="surrogateescape"))
    # several editable installs share one table: ours are those that lie in our source tree
    mapped = {key: Path(where) for key, where in editable.items() if _is_in(source, Path(where))}
    for key, where in mapped.items():
        if key.startswith("/"):
            finds.planned(where, key[1:])
        else:
            finds.module(where.parent, key.replace(".", "/"), where.name)
    homes = [s for s in sites if _is_in(source, s.path)]
    around = [*homes, site]  # `flit install --symlink` puts a link beside the metadata
    for module in [] if mapped else _top_level(info, name, around):
        if home := next((s for s in around if s.has(module)), None):
            finds.module(home.path, module, module)
    if not finds:  # no top_level.txt, and not called like the distribution: whatever can be imported from there
        for home in homes:
            for module in packages(home):
                finds.module(home.path, module, module)
    record = tuple(read_record(info))
    for path in _installed_parts(record, metadata) if finds else ():
        finds.planned(site.path / path, path)
    finds.metadata(info)
    return _finish(name, Kind.EDITABLE, site, metadata, finds, record)


def _installed_parts(record: Iterable[Recorded], metadata: str) -> Iterator[str]:
    """What an editable install has in site-packages all the same, in packages: scikit-build-core's extensions."""
    for line in record:
        top, slash, _ = line.path.partition("/")
        if slash and top not in (metadata, "..", "__pycache__") and not line.path.endswith(".pyc"):
            yield line.path


def _is_in(source: Path, path: Path) -> bool:
    """One of them may be named by way of a link: pip keeps the name it was given, setuptools asks for the real one."""
    try:
        real = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source))
    except ValueError:  # NUL in a path
        return False
    return source.is_absolute() and (real or path.is_relative_to(source))


def _plain(name: str, sites: Sequence[Site]) -> Distribution | None:
    for site in sites:
        if module := site.called_like(name):
            finds = _Finds(compiled=site.installed)
            finds.module(site.path, module, module)
            for more in () if site.installed else modules(site):
                finds.module(site.path, more, more)
            return _finish(name, Kind.PLAIN, site, "", finds)
    return None


def _finish(
    name: str, kind: Kind, site: Site, metadata: str, finds: _Finds, record: tuple[Recorded, ...] = ()
) -> Distribution:
    info = site.path / metadata if metadata else None
    return Distribution(
        name=name,
        version=(read_metadata(info).version if info else "") or UNKNOWN,
        kind=kind,
        site=site,
        metadata=metadata,
        installer=_text(info / "INSTALLER").strip() if info else "",
        files=finds.files(),
        record=record,
        trees=finds.trees,
        ways=frozenset(finds.ways),
        litter=tuple(finds.litter),
    )


# --- metadata -------------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")  # not read_text, to which all line ends are one
    except OSError:
        return ""


def _top_level(info: Path, name: str, sites: Iterable[Site]) -> list[str]:
    """What is imported from it: setuptools writes it down; otherwise it is called like the distribution."""
    listed = [module for module in _text(info / "top_level.txt").split() if is_below(module)]
    return listed or [module for site in sites if (module := site.called_like(name))][:1]


def _direct_url(info: Path) -> Mapping[str, object]:
    try:
        found = json.loads(_text(info / "direct_url.json") or "{}")
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def _is_editable(info: Path) -> bool:
    directory = _direct_url(info).get("dir_info")
    return isinstance(directory, dict) and bool(directory.get("editable"))
