"""Snapshots in a directory: one folder for each generation, complete or not there at all.

A snapshot is made under another name and gets its number by one rename, so SIGKILL leaves a leftover and never half a
snapshot. A power cut can still lose the content of files that were written seconds before; their sizes, which are kept
as well, show that when trapd starts again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trapd.atomic import sync_folder
from trapd.contracts import Cost, Snapshots
from trapd.errors import SnapshotError
from trapd.generations import ahead, kept, manifest, short_lived, table
from trapd.generations.copying import discard
from trapd.generations.examination import Examiner
from trapd.generations.order import COMPILING, MAKING, REMOVING, Order, Tell
from trapd.generations.store import Store
from trapd.layout import State, interpreter
from trapd.model import Disk, DiskState, Generation, TreeFile
from trapd.sizes import counted
from trapd.spec import Application, PoolSpec

log = logging.getLogger("trapd.generations")


def _nobody(needed: int) -> None:
    """Is told how many bytes are needed."""


class SnapshotStore(Snapshots):
    """Keeps snapshots in ``directory``.

    One trapd at a time. What needs an object for each file is done by short-lived processes, the rest in threads,
    except at construction, which removes what an earlier run left unfinished and learns which snapshots there are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._in_work: set[Path] = set()
        self._needed: dict[int, int] = {}  # of those that are being made: bytes to copy
        self._store = Store(State(directory.parent).store)
        self._damaged: dict[int, str] = {}
        self._kept = kept.Kept(State(directory.parent).kept)
        self._orders = 0  # that are under way, but that to link ahead
        self._linking: asyncio.Task[Any] | None = None
        self._begun: short_lived.Begun | None = None  # waits for the order to make a generation
        ahead.invalidate(directory)
        self._sweep()
        self._present = self._scan()
        self._left_out = {number: self._not_readable(number) for number in self._present}
        self._compare_sizes()

    async def make(
        self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application
    ) -> None:
        """Copy what is installed. Raises SnapshotError if it is not, or no longer, what ``disk`` says."""
        copied = Disk(DiskState.SETTLED, files=disk.files, roots=disk.roots, environment=disk.environment)
        await self._build("make", generation, copied, tuple(pools), application)

    async def copy(
        self, generation: Generation, source: int, pools: Sequence[PoolSpec], celeryconfig: TreeFile | int | None = None
    ) -> None:
        """The code of an earlier snapshot under a new number, with trapd's present worker part, and with its own
        celeryconfig or another one: an installed file, or that of another snapshot.

        Raises SnapshotError if there is no such snapshot.
        """
        if source not in self._present:
            raise SnapshotError(
                f"cannot copy generation {source}: it has no snapshot; recycle what is installed instead"
            )
        if await self._compare([source]):
            raise SnapshotError(f"cannot copy generation {source}: it is damaged: {self._damaged[source]}")
        await self._build("copy", generation, source, tuple(pools), celeryconfig)

    async def remove(self, number: int) -> None:
        """Remove a snapshot: at one moment it is whole, at the next it is gone; or kept, if others wrote into it."""
        self._present -= {number}
        try:
            if await self._order("remove", number, number, aside=f"{REMOVING}{number}"):
                self._kept = await asyncio.to_thread(kept.Kept, self._kept.directory)
            else:
                self._damaged.pop(number, None)
        except SnapshotError as error:
            log.error("%s", error)

    async def examine(self, numbers: Iterable[int]) -> frozenset[int]:
        """Compare snapshots with what was copied; damaged ones are absent from then on. Returns their numbers."""
        try:
            return await self._compare([number for number in numbers if number in self._present])
        except SnapshotError as error:
            log.error("cannot compare generations with what was copied: %s", error)
            return frozenset()

    async def compile(self, number: int) -> None:
        """Compile what workers of a snapshot would compile at each start. Nothing else of it changes."""
        try:
            if count := await self._order("compile", number, number, aside=f"{COMPILING}{number}"):
                log.info("compiled %s for generation %d", counted(count, "file"), number)
        except SnapshotError as error:
            log.warning("cannot compile for generation %d, so that its workers do at each start: %s", number, error)

    async def expect(self, *, make: bool) -> None:
        """Begin the process that makes the next snapshot, or end it: nothing will be made for the time being."""
        begun = self._begun
        if make and begun is None:
            with suppress(OSError):  # there will be one, or the order says why there is none
                self._begun = await short_lived.begin()
        elif not make and begun is not None:
            self._begun = None
            await begun.end()

    async def link_ahead(self) -> bool:
        """Link what the next snapshot will take over. It changes no snapshot, and every other order ends it.

        Returns False if something else is under way, or has ended it: try again later.
        """
        if self._orders or self._linking is not None:
            return False
        self._linking = asyncio.create_task(self._carry_out("link_ahead", "ahead"))
        try:
            await asyncio.wait([self._linking])
            if self._linking.cancelled():
                return False
            if error := self._linking.exception():
                log.warning("%s; the next generation takes longer to make", error)
            return True
        finally:
            await self._stop_linking()
            self._linking = None

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

    def left_out(self, number: int) -> Sequence[str]:
        """The installed files that a snapshot does not have because they could not be read."""
        return self._left_out.get(number, ())

    def making(self) -> tuple[int, int] | None:
        """Number of the snapshot that is being made now, and how many bytes are copied for it; None if none is."""
        return next(iter([*self._needed.items()]), None)

    def troubles(self) -> list[str]:
        """What is wrong with snapshots, in sentences for people."""
        return self._kept.troubles()

    async def sweep(self) -> None:
        """Remove leftovers of whoever was killed while making or removing."""
        await asyncio.to_thread(self._sweep)

    # --- orders -----------------------------------------------------------------------------------------------------

    async def _build(self, act: str, generation: Generation, *arguments: object) -> None:
        """A new snapshot, by ``make`` or ``copy``."""
        number, only = generation.number, _without_tables(generation)
        tell = partial(self._needed.__setitem__, number)
        tell(0)
        was_there = await asyncio.to_thread((self.directory / str(number)).exists)
        try:
            await self._order(act, number, only, *arguments, aside=f"{MAKING}{number}", tell=tell)
        except SnapshotError as error:
            if was_there or not await self._is_whole(number):
                raise
            log.warning("%s; but generation %d is there and whole", error, number)
        finally:
            del self._needed[number]
        self._left_out[number] = await asyncio.to_thread(self._not_readable, number)
        self._present |= {number}

    async def _is_whole(self, number: int) -> bool:
        """Whether it was made, though whoever made it did not live to say so: its name is the last that it gets."""
        if not await asyncio.to_thread((self.directory / str(number)).exists):
            return False
        await asyncio.to_thread(sync_folder, self.directory)
        return not await self._order("examine", number, [number])

    async def _order(self, act: str, what: object, *arguments: object, aside: str = "", tell: Tell = _nobody) -> Any:
        """Have it done, once nobody links ahead any more: two who work in one folder would spoil it."""
        self._orders += 1
        try:
            await self._stop_linking()
            return await self._carry_out(act, what, *arguments, aside=aside, tell=tell)
        finally:
            self._orders -= 1

    async def _stop_linking(self) -> None:
        """Returns when its process is gone. A second cancellation would end the wait for that."""
        if (linking := self._linking) is not None and not linking.done():
            if not linking.cancelling():
                linking.cancel()
            await asyncio.wait([linking])

    async def _carry_out(
        self, act: str, what: object, *arguments: object, aside: str = "", tell: Tell = _nobody
    ) -> Any:
        """``aside``: the folder in which it is prepared, which is gone afterwards, however that ends."""
        order = Order(act, str(self.directory), self._present, arguments, f"{act} generation {what}")
        folders = {self.directory / aside} if aside else set[Path]()
        self._in_work |= folders
        try:
            return await short_lived.run(order, tell, await self._take_begun() if act == "make" else None)
        finally:
            for folder in folders:
                await asyncio.to_thread(discard, folder)
            self._in_work -= folders

    async def _take_begun(self) -> short_lived.Begun | None:
        begun, self._begun = self._begun, None
        if begun is not None and not begun.alive:  # killed, while it waited: then another one is begun
            await begun.end()
            return None
        return begun

    async def _compare(self, numbers: Sequence[int]) -> frozenset[int]:
        """As ``examine``. Raises SnapshotError if nobody could tell."""
        return self._note(dict(await self._order("examine", numbers, numbers))) if numbers else frozenset()

    def _note(self, found: Mapping[int, str]) -> frozenset[int]:
        for number, why in found.items():
            log.error("generation %d is damaged: %s", number, why)
        self._present -= frozenset(found)
        self._damaged |= found
        return frozenset(found)

    # --- in threads -------------------------------------------------------------------------------------------------

    def _compare_sizes(self) -> None:
        examiner = Examiner(self._store, content=False)
        self._note(dict(examiner.damaged(self.directory, self._present)))

    def _not_readable(self, number: int) -> Sequence[str]:
        with suppress(SnapshotError):
            return manifest.read(self.directory / str(number)).left_out
        return ()

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

    def _sweep(self) -> None:
        for path in self.directory.glob(".*"):
            if path.name.startswith((MAKING, REMOVING, COMPILING)) and path not in self._in_work:
                log.info("removing %s, which was left unfinished", path)
                try:
                    discard(path)
                except OSError as error:  # it costs room, and is no reason not to start
                    log.error("cannot remove %s: %s", error.filename, (error.strerror or str(error)).lower())
        self._store.collect()

    def _scan(self) -> frozenset[int]:
        found = [path.parent.name for path in self.directory.glob(f"[0-9]*/{manifest.NAME}")]
        return frozenset(int(name) for name in found if name.isdigit())


def _without_tables(generation: Generation) -> Generation:
    """What a manifest has of it."""
    return replace(generation, distributions={}, required=(), loaded={})


def _leads_to(python: Path) -> Path:
    return python.readlink() if python.is_symlink() else python
