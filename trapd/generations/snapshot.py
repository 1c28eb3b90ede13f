"""Snapshots in a directory: one folder for each generation, complete or not there at all.

A snapshot is made under another name and gets its number by one rename, so SIGKILL leaves a leftover and never half a
snapshot. A power cut can still lose the content of files that were written seconds before; their sizes, which are kept
as well, show that when trapd starts again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from trapd import heap
from trapd.atomic import sync_folder
from trapd.contracts import Cost, Snapshots
from trapd.errors import SnapshotError
from trapd.generations import compiling, env, importable, kept, manifest, mirror, runtime, stamps, table
from trapd.generations.copying import discard, freeze
from trapd.generations.examination import Examiner
from trapd.generations.filling import Filling
from trapd.generations.moves import ENV, Moves
from trapd.generations.room import FULL
from trapd.generations.store import Store
from trapd.layout import State, interpreter
from trapd.model import Disk, Generation, TreeFile
from trapd.spec import Application, PoolSpec

log = logging.getLogger("trapd.generations")
_MAKING, _REMOVING, _COMPILING = ".making-", ".removing-", ".compiling-"


class SnapshotStore(Snapshots):
    """Keeps snapshots in ``directory``.

    One process at a time. Files are handled in threads, except at construction, which removes what an earlier run left
    unfinished and learns which snapshots there are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._in_work: set[Path] = set()
        self._fillings: dict[int, Filling] = {}
        self._store = Store(State(directory.parent).store)
        self._damaged: dict[int, str] = {}
        self._kept = kept.Kept(State(directory.parent).kept)
        self._sweep()
        self._present = self._scan()
        self._examine(self._present, content=False)

    async def make(
        self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application
    ) -> None:
        """Copy what is installed. Raises SnapshotError if it is not, or no longer, what ``disk`` says."""
        try:
            await asyncio.to_thread(self._make, generation, disk, pools, application)
        finally:
            heap.give_back()
        self._present |= {generation.number}

    async def copy(
        self, generation: Generation, source: int, pools: Sequence[PoolSpec], celeryconfig: TreeFile | int | None = None
    ) -> None:
        """The code of an earlier snapshot under a new number, with trapd's present worker part, and with its own
        celeryconfig or another one: an installed file, or that of another snapshot.

        Raises SnapshotError if there is no such snapshot.
        """
        await asyncio.to_thread(self._copy, generation, source, pools, celeryconfig)
        self._present |= {generation.number}

    async def remove(self, number: int) -> None:
        """Remove a snapshot: at one moment it is whole, at the next it is gone; or kept, if others wrote into it."""
        self._present -= {number}
        await asyncio.to_thread(self._remove, number)

    async def examine(self, numbers: Iterable[int]) -> frozenset[int]:
        """Compare snapshots with what was copied; damaged ones are absent from then on. Returns their numbers."""
        return await asyncio.to_thread(self._examine, [n for n in numbers if n in self._present])

    async def compile(self, number: int) -> None:
        """Compile what workers of a snapshot would compile at each start. Nothing else of it changes."""
        folder, staged = self.directory / str(number), self.directory / f"{_COMPILING}{number}"
        self._in_work.add(staged)
        try:
            about = await asyncio.to_thread(manifest.read, folder)
            levels = compiling.levels(about.pools)
            if sources := await asyncio.to_thread(lambda: compiling.sources(table.read(folder), levels)):
                await asyncio.to_thread(staged.mkdir, 0o700)
                python = await asyncio.to_thread(interpreter, folder, about.python)
                await compiling.run(python, folder, sources, levels, staged)
                count = await asyncio.to_thread(self._take_in, folder, staged)
                log.info("compiled %d file(s) for generation %d", count, number)
        except (OSError, ValueError, SnapshotError) as error:
            log.warning("cannot compile for generation %d, so that its workers do at each start: %s", number, error)
        finally:
            await asyncio.to_thread(discard, staged)
            self._in_work.discard(staged)

    async def flaw(self, number: int) -> str:
        """Why no worker could start from a snapshot, and what to do; empty where nothing speaks against it."""
        return await asyncio.to_thread(self._flaw, number)

    async def cost(self, number: int) -> Cost | None:
        """What a snapshot takes on the disk, and took to be made; None if that is not known."""
        with suppress(OSError, ValueError):
            return await asyncio.to_thread(table.cost, self.directory / str(number))
        return None

    async def files(self, number: int) -> Mapping[str, tuple[str, int]]:
        """The application's files of a snapshot: path -> digest, empty if not known, and size in bytes."""
        with suppress(OSError, ValueError):
            return await asyncio.to_thread(table.of_application, self.directory / str(number))
        return {}

    def present(self) -> frozenset[int]:
        """Numbers of the complete snapshots."""
        return self._present

    def damaged(self) -> Mapping[int, str]:
        """Snapshots that are there and not as they were copied, each with what is wrong with it."""
        return self._damaged

    def making(self) -> tuple[int, int] | None:
        """Number of the snapshot that is being made now, and how many bytes are copied for it; None if none is."""
        return next(((number, filling.room.needed) for number, filling in [*self._fillings.items()]), None)

    def troubles(self) -> list[str]:
        """What is wrong with snapshots, in sentences for people."""
        return self._kept.troubles()

    async def sweep(self) -> None:
        """Remove leftovers of whoever was killed while making or removing."""
        await asyncio.to_thread(self._sweep)

    # --- in threads -------------------------------------------------------------------------------------------------

    def _make(self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application) -> None:
        with self._building(generation.number) as filling:
            places = self._fill(filling, disk)
            code = [manifest.CODE, *map(mirror.home, disk.roots)]
            names = importable.names(importable.below(code, (file.path for file in disk.files)))
            about = manifest.describe(
                generation,
                pools,
                replace(application, python=_of_release(Path(application.python))),
                watched=importable.watched(names, [filling.folder / place for place in places], generation.versions),
                import_path=[*code, manifest.RUNTIME],
                environment=disk.environment,
            )
            self._complete(filling, about)

    def _fill(self, filling: Filling, disk: Disk) -> list[str]:
        """Put in what is installed; returns the folders in which there is code."""
        files, places = list(disk.files), [manifest.CODE, *map(mirror.home, disk.roots)]
        if environment := disk.environment:
            env.permit(self.directory)
            began, known = time.time(), State(self.directory.parent).stamps
            moves = Moves(environment, disk.files, disk.roots)
            found = env.contents(environment, moves, disk.roots, stamps.read(known))
            files = [*moves.apart, *found.files]
            places += [f"{ENV}/{site}" for site in {environment.site, *environment.sites}]
        filling.add(files, closed=frozenset({manifest.CELERYCONFIG}))  # it may hold passwords
        mirror.link_neighbours(filling.folder, disk.roots)
        if environment:
            for place, text in found.texts.items():
                filling.write(place, text)
            env.link(filling.folder, found)
            for path in found.closed:
                log.warning("cannot read %s: permission denied; the generation is made without it", path)
            env.confirm(found)
            stamps.keep(known, env.copied(found, filling.entries()), before=began)
        return places

    def _copy(
        self, generation: Generation, source: int, pools: Sequence[PoolSpec], celeryconfig: TreeFile | int | None
    ) -> None:
        if source not in self._present:
            raise SnapshotError(
                f"cannot copy generation {source}: it has no snapshot; recycle what is installed instead"
            )
        old = self.directory / str(source)
        if self._examine([source]):
            raise SnapshotError(f"cannot copy generation {source}: it is damaged: {self._damaged[source]}")
        with self._building(generation.number) as filling:
            before = manifest.read(old)
            config = celeryconfig if isinstance(celeryconfig, TreeFile) else self._celeryconfig(celeryconfig or source)
            code = [
                TreeFile(entry.path, str(old / entry.path), entry.digest)
                for entry in table.read(old)
                if entry.path.startswith((f"{manifest.CODE}/", f"{mirror.TREE}/", f"{ENV}/"))
            ]
            filling.add([*code, config], closed=frozenset({manifest.CELERYCONFIG}))
            env.relink(old, filling.folder)
            mirror.link_neighbours(filling.folder, mirror.originals(before.import_path))
            self._complete(filling, manifest.describe_copy(generation, pools, before))

    def _celeryconfig(self, number: int) -> TreeFile:
        """Raises SnapshotError where the snapshot has none."""
        folder = self.directory / str(number)
        for entry in table.read(folder):
            if entry.path == manifest.CELERYCONFIG:
                return TreeFile(entry.path, str(folder / entry.path), entry.digest)
        raise SnapshotError(f"cannot copy the celeryconfig of generation {number}: it has none")

    def _complete(self, filling: Filling, about: manifest.Manifest) -> None:
        filling.add(TreeFile(f"{manifest.RUNTIME}/{path}", str(file), "") for path, file in runtime.files())
        filling.keep()
        for part in (manifest.CODE, manifest.RUNTIME, mirror.TREE, ENV, "etc"):
            freeze(filling.folder / part)
        manifest.write(about, filling.folder, group=self._workers_group())
        filling.folder.chmod(0o555)
        sync_folder(filling.folder)

    def _examine(self, numbers: Iterable[int], *, content: bool = True) -> frozenset[int]:
        examiner, found = Examiner(self._store, content=content), dict[int, str]()
        for number in sorted(numbers, reverse=True):
            if why := examiner.examine(self.directory / str(number)):
                log.error("generation %d is damaged: %s", number, why)
                found[number] = why
        self._present -= frozenset(found)
        self._damaged |= found
        return frozenset(found)

    def _flaw(self, number: int) -> str:
        if number in self._damaged:
            return f"it is damaged: {self._damaged[number]}"
        try:
            folder = self.directory / str(number)
            python = Path(interpreter(folder, manifest.read(folder).python))
            python.stat()
        except SnapshotError as error:
            return str(error)
        except (FileNotFoundError, NotADirectoryError):
            return f"its interpreter {_leads_to(python)} is gone; make it again, or install the code that you want"
        except OSError:  # not for us to see; the worker may
            pass
        return ""

    def _take_in(self, folder: Path, staged: Path) -> int:
        return compiling.take_in(folder, staged, self._store, group=self._workers_group())

    def _workers_group(self) -> int:
        return self.directory.stat().st_gid

    @contextmanager
    def _building(self, number: int) -> Iterator[Filling]:
        """A fresh folder to fill, which becomes the snapshot if the block ends well, and nothing otherwise."""
        folder, final = self.directory / f"{_MAKING}{number}", self.directory / str(number)
        self._in_work.add(folder)
        filling: Filling | None = None
        try:
            if final.exists():
                raise SnapshotError(f"cannot make generation {number}: {final} exists; was the history lost?")
            discard(folder)
            for part in (manifest.CODE, manifest.RUNTIME, "etc"):
                (folder / part).mkdir(parents=True)
            earlier = [self.directory / str(other) for other in sorted(self._present, reverse=True)]
            filling = Filling(folder, self._store, earlier, group=self._workers_group())
            self._fillings[number] = filling
            yield filling
            folder.rename(final)
            sync_folder(self.directory)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            discard(folder)
            if filling is not None and error.errno in FULL and (shortage := filling.room.shortage()):
                why += f"; {shortage}"
            raise SnapshotError(
                f"cannot make generation {number}: {error.filename or self.directory}: {why}"
            ) from error
        finally:
            self._fillings.pop(number, None)
            discard(folder)
            self._in_work.discard(folder)

    def _remove(self, number: int) -> None:
        aside, snapshot = self.directory / f"{_REMOVING}{number}", self.directory / str(number)
        discard(aside)
        try:
            if self._kept.take(snapshot):
                return
            snapshot.rename(aside)
            self._damaged.pop(number, None)
        except FileNotFoundError:
            return
        discard(aside)
        self._store.collect()

    def _sweep(self) -> None:
        for path in self.directory.glob(".*"):
            if path.name.startswith((_MAKING, _REMOVING, _COMPILING)) and path not in self._in_work:
                log.info("removing %s, which was left unfinished", path)
                discard(path)
        self._store.collect()

    def _scan(self) -> frozenset[int]:
        found = [path.parent.name for path in self.directory.glob(f"[0-9]*/{manifest.NAME}")]
        return frozenset(int(name) for name in found if name.isdigit())


def _of_release(python: Path) -> str:
    """The interpreter by a path that no link to a release leads to another one. It stays in its virtual environment:
    its own link, which leads out, is not followed."""
    return str(Path(os.path.realpath(python.parent.parent), python.parent.name, python.name))


def _leads_to(python: Path) -> Path:
    return python.readlink() if python.is_symlink() else python
