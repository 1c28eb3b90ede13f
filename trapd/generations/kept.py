"""Files that somebody else has put into a snapshot: nobody should, and whoever did may have no other copy of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from trapd.generations import table
from trapd.generations.copying import CACHE
from trapd.generations.manifest import CODE
from trapd.generations.mirror import is_neighbour
from trapd.generations.moves import ENV
from trapd.sizes import counted

log = logging.getLogger("trapd.generations")
_OWN = frozenset({table.NAME, table.FORMER, "manifest.json"})


def foreign(snapshot: Path) -> list[Path]:
    """What in a snapshot is not as it was made: further files and links, and files of another size.

    Of what Python compiles nothing counts. Nothing either where the snapshot does not say what belongs to it.
    """
    try:
        known = {entry.path: entry.size for entry in table.read(snapshot)}
        return [path for path in _files(snapshot) if not _belongs(snapshot, path, known)]
    except (OSError, ValueError):
        return []


def _belongs(snapshot: Path, path: Path, known: Mapping[str, int]) -> bool:
    name = str(path.relative_to(snapshot))
    if path.is_symlink():
        into_env = path.is_relative_to(snapshot / CODE) and f"/{ENV}/" in os.path.normpath(
            path.parent / path.readlink()
        )
        return is_neighbour(snapshot, path) or path.is_relative_to(snapshot / ENV) or into_env
    return name in _OWN or path.parent.name == CACHE or known.get(name) == path.stat().st_size


def _leads_to_env(snapshot: Path, path: Path) -> bool:
    """Whether it is a link to what is watched, which ``trapd.generations.env`` makes."""
    to = Path(os.path.normpath(path.parent / path.readlink()))
    return path.is_relative_to(snapshot / CODE) and to.is_relative_to(snapshot / ENV)


def _files(top: Path) -> Iterator[Path]:
    """With links, to folders too, none of which is followed."""
    for folder, folders, names in os.walk(top):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in sorted([*names, *links]))


class Kept:
    """Snapshots that were not removed because they hold such files, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held: dict[Path, str] = {}
        for folder in sorted(directory.iterdir()) if directory.is_dir() else []:
            self._note(folder)

    def take(self, snapshot: Path) -> bool:
        """Move it here if it holds foreign files; returns whether. Raises OSError."""
        if not foreign(snapshot):
            return False
        self.directory.mkdir(mode=0o700, exist_ok=True)
        target, more = self.directory / snapshot.name, 1
        while target.exists():
            more += 1
            target = self.directory / f"{snapshot.name}-{more}"
        snapshot.chmod(0o700)  # moved to another folder, it is written itself: its `..`
        snapshot.rename(target)
        for folder, _, _ in os.walk(target):  # for whoever takes the files out
            Path(folder).chmod(0o700)
        self._note(target)
        log.error("%s", self._held[target])
        return True

    def _note(self, folder: Path) -> None:
        if strange := foreign(folder):
            inside = [str(path.relative_to(folder)) for path in strange]
            shown = ", ".join(inside[:2]) + (", ..." if inside[2:] else "")
            self._held[folder] = (
                f"cannot remove generation {folder.name}: something wrote {counted(len(inside), 'file')} into it "
                f"({shown}); take out of {folder} what you need, and remove it"
            )

    def troubles(self) -> list[str]:
        """A sentence for each of them that is still there."""
        return [sentence for folder, sentence in self._held.items() if folder.exists()]
