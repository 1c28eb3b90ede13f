"""Snapshots in memory. They keep the contract's promises: tests/contract/test_snapshots.py runs on them too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from trapd.contracts import Cost, Snapshots
from trapd.errors import SnapshotError
from trapd.model import Disk, Generation, TreeFile
from trapd.spec import Application, PoolSpec

CONFIG = "etc/celeryconfig.py"


class FakeSnapshots(Snapshots):
    """``failure``, while set, is raised by ``make`` and ``copy``. ``removed`` remembers what was removed, in order.

    ``read`` gives the content of an installed file; without it every file is taken to be as the disk says.
    """

    def __init__(self, read: Callable[[str], bytes] | None = None) -> None:
        self.failure: Exception | None = None
        self.removed: list[int] = []
        self.kept: dict[int, Mapping[str, bytes]] = {}
        self.flaws: dict[int, str] = {}  # number -> why no worker could start from it
        self.harmed: dict[int, str] = {}  # number -> what is wrong with it, once somebody looks
        self.found: dict[int, str] = {}
        self.compiled: list[int] = []
        self.linked_ahead: list[frozenset[int]] = []  # present, each time
        self.expected: list[bool] = []  # whether an order to make one is, each time
        self.unreadable: dict[int, list[str]] = {}  # number -> what it does not have
        self._read = read

    async def make(
        self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application
    ) -> None:
        self._keep(generation, {file.path: self._content(file.source, file.digest) for file in disk.files})

    async def copy(
        self, generation: Generation, source: int, pools: Sequence[PoolSpec], celeryconfig: TreeFile | int | None = None
    ) -> None:
        if source not in self.present():
            raise SnapshotError(f"cannot copy generation {source}: it has no snapshot")
        if await self.examine([source]):
            raise SnapshotError(f"cannot copy generation {source}: it is damaged: {self.found[source]}")
        other = {}
        if isinstance(celeryconfig, int):
            other = {CONFIG: self.kept[celeryconfig][CONFIG]}
        elif celeryconfig is not None:
            other = {CONFIG: self._content(celeryconfig.source, celeryconfig.digest)}
        self._keep(generation, {**self.kept[source], **other})

    async def remove(self, number: int) -> None:
        self.found.pop(number, None)
        if self.kept.pop(number, None) is not None:
            self.removed.append(number)

    async def flaw(self, number: int) -> str:
        return self.flaws.get(number, "" if number in self.kept else f"there is no generation {number}")

    async def cost(self, number: int) -> Cost | None:
        return Cost(sum(map(len, self.kept[number].values()))) if number in self.kept else None

    async def files(self, number: int) -> Mapping[str, tuple[str, int]]:
        kept = self.kept.get(number, {})
        return {path: (hashlib.sha256(content).hexdigest(), len(content)) for path, content in kept.items()}

    async def examine(self, numbers: Iterable[int]) -> frozenset[int]:
        found = self.harmed.keys() & set(numbers) & self.kept.keys()
        self.found |= {number: self.harmed[number] for number in found}
        return frozenset(found)

    async def compile(self, number: int) -> None:
        self.compiled.append(number)

    async def expect(self, *, make: bool) -> None:
        self.expected.append(make)

    async def link_ahead(self) -> bool:
        self.linked_ahead.append(self.present())
        return True

    def present(self) -> frozenset[int]:
        return frozenset(self.kept.keys() - self.found.keys())

    def damaged(self) -> Mapping[int, str]:
        return self.found

    def left_out(self, number: int) -> Sequence[str]:
        return self.unreadable.get(number, ())

    def making(self) -> tuple[int, int] | None:
        return None

    def _keep(self, generation: Generation, files: Mapping[str, bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        if generation.number in self.kept:
            raise SnapshotError(f"cannot make generation {generation.number}: it exists")
        self.kept[generation.number] = files

    def _content(self, source: str, digest: str) -> bytes:
        if self._read is None:
            return digest.encode()
        content = self._read(source)
        if digest and hashlib.sha256(content).hexdigest() != digest:
            raise SnapshotError(f"cannot copy {source}: it has changed since it was looked at")
        return content
