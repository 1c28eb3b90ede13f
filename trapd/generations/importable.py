"""Which names the code of a generation is imported by, and which of them belong to which distribution."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from trapd.generations.copying import CACHE

_NO_CODE = ("-info", ".libs", ".pth")
_MODULES = frozenset({".py", ".pyc", ".so"})


def below(folders: Collection[str], paths: Iterable[str]) -> Iterator[str]:
    """Of those paths that are below one of the folders, the part that is; of folders in one another, the inner one."""
    inner_first = sorted(folders, key=len, reverse=True)
    for path in paths:
        folder = next((folder for folder in inner_first if path.startswith(f"{folder}/")), None)
        if folder is not None:
            yield path[len(folder) + 1 :]


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
    """Of metadata that importlib cannot read, nothing."""
    with suppress(ValueError, TypeError, csv.Error):
        for found in metadata.distributions(name=name, path=[str(folder) for folder in code]):
            top_level = (found.read_text("top_level.txt") or "").split()
            return {*map(_top, top_level)} or {_top(file.parts[0]) for file in found.files or () if file.parts}
    return set()


def _top(name: str) -> str:
    return name.partition(".")[0]
