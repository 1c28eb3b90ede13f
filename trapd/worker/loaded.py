"""Which distributions a worker and its children have loaded modules of, and whether one changed in between.

trapd recycles a worker if what the worker has loaded changes on the disk. A worker that imports late may get a module
of a newer state than those that it has: then it holds two states at once, and says so.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from trapd.worker.children import Children
from trapd.worker.owners import Owner, Owners

Stamp = tuple[int, int]  # size and time of change of a file


class Loaded:
    """``look`` in one thread at a time; the rest may be read from any."""

    def __init__(self, generation: str) -> None:
        """``generation``: what lies below this folder never changes."""
        self.names: tuple[str, ...] = ()  # normalised, sorted
        self.copied: tuple[str, ...] = ()  # those of them with a module that lies in the generation
        self.replaced: tuple[str, ...] = ()  # module=file, of modules that are newer than others of their distribution
        self.children = Children()
        self._inside = generation.rstrip("/") + "/"
        self._owners = Owners()
        self._seen: set[tuple[str, str]] = set()
        self._modules = 0
        self._states: dict[str, str] = {}  # distribution with a RECORD -> what that listed when it was first loaded
        self._files: dict[str, dict[str, Stamp | None]] = {}  # distribution without -> its loaded files

    def look(self) -> bool:
        """Whether anything is new. Costs next to nothing as long as nobody imports."""
        fresh = self.children.read()
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            fresh += loaded_files()
        return bool(fresh) and self._note(fresh)

    def _note(self, modules: Iterable[tuple[str, str]]) -> bool:
        before = self.names, self.copied, self.replaced
        copied = set(self.copied)
        new: dict[str, list[tuple[str, str]]] = {}
        owners: dict[str, Owner] = {}
        for name, file in modules:
            if (name, file) not in self._seen:
                self._seen.add((name, file))
                if owner := self._owners.of(file):
                    owners[owner.name] = owner
                    new.setdefault(owner.name, []).append((name, file))
        for distribution, owner in owners.items():
            outside = [(name, file) for name, file in new[distribution] if not file.startswith(self._inside)]
            if len(outside) < len(new[distribution]):
                copied.add(distribution)
            if outside and self._changed(owner):
                self.replaced = tuple(sorted({*self.replaced, *(f"{name}={file}" for name, file in outside)}))
            if outside and not owner.record:
                self._files.setdefault(distribution, {}).update((file, _stamp(file)) for _, file in outside)
        self.names, self.copied = tuple(sorted({*self.names, *owners})), tuple(sorted(copied))
        return before != (self.names, self.copied, self.replaced)

    def _changed(self, owner: Owner) -> bool:
        """Whether the distribution is another one than it was when a module of it was loaded first."""
        if not owner.record:
            return any(_stamp(file) != stamp for file, stamp in self._files.get(owner.name, {}).items())
        state = _state(owner.record)
        return self._states.setdefault(owner.name, state) != state


def loaded_files() -> list[tuple[str, str]]:
    """Modules of this process that have a file, and which."""
    found = []
    for name, module in list(sys.modules.items()):  # a copy, made in one step: others may be importing meanwhile
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(file, str):
            found.append((name, file))
    return found


def _state(record: str) -> str:
    """A digest of what RECORD says of code; the same wheel that is installed again leaves the same."""
    try:
        lines = [line for line in Path(record).read_bytes().splitlines() if b"-info/" not in line]
    except OSError:
        return ""
    return hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()


def _stamp(file: str) -> Stamp | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
