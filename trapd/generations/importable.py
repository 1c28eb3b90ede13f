"""Which names the code of a generation is imported by, and which of them belong to which distribution."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trapd.content import normalise
from trapd.folders import Copies, join
from trapd.generations.copying import CACHE
from trapd.model import TreeFile

_NO_CODE = ("-info", ".libs", ".pth")
_METADATA = (".dist-info", ".egg-info")
_MODULES = frozenset({".py", ".pyc", ".so"})


def below(folders: Collection[str], paths: Iterable[str]) -> Iterator[str]:
    """Of those paths that are below one of the folders, the part that is; of folders in one another, the inner one."""
    inner_first = sorted(folders, key=len, reverse=True)
    for path in paths:
        folder = next((folder for folder in inner_first if path.startswith(f"{folder}/")), None)
        if folder is not None:
            yield path[len(folder) + 1 :]


def telling(files: Collection[TreeFile]) -> Iterator[str]:
    """The paths of those files that tell by which names code is imported: of a package, its ``__init__``."""
    if not isinstance(files, Copies):
        yield from (file.path for file in files)
        return
    yield from (file.path for file in files.apart)
    for folder, _ in files.parts:
        inside = folder.all_names
        yield from (join(folder.path, name) for name in [n for n in inside if n.startswith("__init__.")] or inside)


def names(paths: Iterable[str]) -> frozenset[str]:
    """Names of the packages and modules among files, whose paths are relative to where they are imported from.

    Of a namespace (a folder without an ``__init__``), which others may have a part of, what is in it: ``ns.trap``.
    """
    folders: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    packages = {folder for folder, inside in folders.items() if any(name.startswith("__init__.") for name in inside)}
    found, tops = set[str](), set[str]()
    for folder, inside in folders.items():
        parts = folder.split("/") if folder else []
        if CACHE in parts or (parts and parts[0].endswith(_NO_CODE)):
            continue
        tops.update(parts[:1])
        outermost = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        if package := next((folder for folder in outermost if folder in packages), None):
            found.add(package.replace("/", "."))
            continue
        for name in inside:
            if os.path.splitext(name)[1] in _MODULES and (parts or not name.endswith(_NO_CODE)):  # noqa: PTH122
                found.add(".".join((*parts, _top(name))))
    return frozenset(found | (tops - set(map(_top, found))))


def watched(names: Collection[str], code: Sequence[Path], versions: Mapping[str, str]) -> dict[str, list[str]]:
    """Distribution -> those of the names that it is imported by, as the metadata in the folders ``code`` tell.

    Names that no metadata claims (of editable installs and plain folders) belong to the distributions without any.
    """
    claims = {name: _claims(code, name) for name in versions}
    claimed = {name: sorted(one for one in names if _top(one) in claims[name]) for name in versions}
    free = sorted(set(names).difference(*claimed.values()))
    return {name: mine or free for name, mine in claimed.items()}


def _claims(code: Sequence[Path], name: str) -> set[str]:
    """Of metadata that cannot be read, nothing. (`importlib.metadata` would tell the same, for 3.3 MB of memory.)"""
    with suppress(ValueError, OSError, csv.Error):
        for folder in code:
            if found := _metadata(folder, name):
                top_level = _text(found / "top_level.txt").split()
                return {*map(_top, top_level)} or set(_recorded(found))
    return set()


def _metadata(folder: Path, name: str) -> Path | None:
    """The distribution's metadata in one folder of the import path: that of an installer before that of an egg."""
    if not folder.is_dir():
        return None
    wanted = normalise(name)
    if folder.suffix == ".egg" and normalise(folder.name.partition("-")[0]) == wanted:
        return folder / "EGG-INFO"
    mine = (path for path in sorted(folder.iterdir()) if path.suffix in _METADATA)
    mine = (path for path in mine if normalise(path.stem.partition("-")[0]) == wanted)
    return min(mine, key=lambda path: _METADATA.index(path.suffix), default=None)


def _recorded(metadata: Path) -> Iterator[str]:
    """First parts of the paths of the files that the distribution has."""
    lines = _text(metadata / "RECORD").splitlines() or _text(metadata / "SOURCES.txt").splitlines()
    return (_top(row[0].partition("/")[0]) for row in csv.reader(lines) if row)


def _text(file: Path) -> str:
    """Empty where there is no such file, or none for us to read; an egg's metadata may be a file itself."""
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return file.read_text("utf-8")
    return ""


def _top(name: str) -> str:
    return name.partition(".")[0]
