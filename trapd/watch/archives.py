"""Code in zip files on the import path: Python runs it, and there is no folder to copy or to listen to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trapd.watch.sites import normalise


def holding(distribution: str, paths: Iterable[str]) -> Path | None:
    """The first archive among these entries of the import path that has it: an egg of its name, or its module."""
    wanted = normalise(distribution)
    for path in map(Path, paths):
        if path.is_file() and (normalise(path.name.partition("-")[0]) == wanted or wanted in _modules(path)):
            return path
    return None


def _modules(archive: Path) -> set[str]:
    import zipfile  # 1.4 MB, and hardly anybody has an archive

    try:
        with zipfile.ZipFile(archive) as opened:
            return {normalise(name.partition("/")[0].partition(".")[0]) for name in opened.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()
