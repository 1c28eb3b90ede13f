"""Makes, copies, compares, compiles and removes generations: ``python -m trapd.generations.maker``.

trapd hands over an order by standard input (``short_lived``) and gets lines of JSON: what there is to log, how many
bytes are to be copied, and at last what was done or why it was not.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import pickle
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from trapd.atomic import sync_folder
from trapd.errors import SnapshotError
from trapd.generations import ahead, compiling, env, importable, kept, manifest, mirror, runtime, stamps, table
from trapd.generations.copying import discard, freeze
from trapd.generations.examination import Examiner
from trapd.generations.filling import Filling
from trapd.generations.installed import Contents
from trapd.generations.moves import ENV, Moves
from trapd.generations.order import AHEAD, COMPILING, MAKING, REMOVING, Order, Tell
from trapd.generations.room import FULL
from trapd.generations.store import Store
from trapd.layout import State, interpreter
from trapd.model import Disk, Generation, TreeFile
from trapd.spec import Application, PoolSpec

log = logging.getLogger("trapd.generations")
_PR_SET_PDEATHSIG = 1
_NICE = 19  # of work that nobody waits for


class Maker:
    """Works in ``directory``, on behalf of a SnapshotStore. Its methods block.

    ``present``: the numbers of the complete snapshots. What is left over of one who was killed is removed by trapd.
    """

    def __init__(self, directory: Path, present: frozenset[int], tell: Tell) -> None:
        self.directory, self._present, self._tell = directory, present, tell
        self._store = Store(State(directory.parent).store)

    def make(self, generation: Generation, disk: Disk, pools: Sequence[PoolSpec], application: Application) -> None:
        """Copy what is installed: see SnapshotStore."""
        known, memory = State(self.directory.parent).stamps, stamps.NOTHING
        with self._building(generation.number) as filling:
            group = self._workers_group()
            if disk.environment:
                memory = stamps.read(known, self.directory, group=group)
            places, found = self._fill(filling, disk, memory)
            code = [manifest.CODE, *map(mirror.home, disk.roots)]
            names = importable.names(importable.below(code, importable.telling(disk.files)))
            about = manifest.describe(
                generation,
                pools,
                replace(application, python=_of_release(Path(application.python))),
                watched=importable.watched(names, [filling.folder / place for place in places], generation.versions),
                import_path=[*code, manifest.RUNTIME],
                environment=disk.environment,
                left_out=found.closed,
            )
            self._complete(filling, about)
        if disk.environment:
            final = self.directory / str(generation.number)
            stamps.keep(known, final, env.seen(found, memory, filling.entries()), group=group)

    def copy(
        self, generation: Generation, source: int, pools: Sequence[PoolSpec], celeryconfig: TreeFile | int | None
    ) -> None:
        """The code of an earlier snapshot under a new number: see SnapshotStore."""
        old = self.directory / str(source)
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

    def link_ahead(self) -> int:
        """Link what the next generation will take over; returns the number of the generation that has it, 0: none."""
        last = stamps.generation(State(self.directory.parent).stamps, self.directory, group=self._workers_group())
        if last is None:
            ahead.forget(self.directory)
            return 0
        try:
            ahead.link(self.directory, last)
        except (OSError, ValueError) as error:
            ahead.forget(self.directory)
            raise SnapshotError(f"cannot link ahead what generation {last.name} has: {error}") from error
        return int(last.name)

    def examine(self, numbers: Iterable[int]) -> list[tuple[int, str]]:
        """Numbers of the damaged ones, each with what is wrong."""
        return Examiner(self._store).damaged(self.directory, numbers)

    def remove(self, number: int) -> bool:
        """Returns whether it was kept, since others wrote into it."""
        aside, snapshot = self.directory / f"{REMOVING}{number}", self.directory / str(number)
        discard(aside)
        try:
            if kept.Kept(State(self.directory.parent).kept).take(snapshot):
                return True
            snapshot.rename(aside)
        except FileNotFoundError:
            return False
        discard(aside)
        if (self.directory / f"{AHEAD}{number}").exists():
            ahead.forget(self.directory)
        self._store.collect()
        return False

    def compile(self, number: int) -> int:
        """Returns how many files were compiled."""
        folder, staged = self.directory / str(number), self.directory / f"{COMPILING}{number}"
        try:
            about = manifest.read(folder)
            compiling.seal(folder)
            levels = compiling.levels(about.pools)
            sources = compiling.sources(table.read(folder), levels)
            if not sources:
                return 0
            staged.mkdir(0o700)
            compiling.run(interpreter(folder, about.python), folder, sources, levels, staged)
            return compiling.take_in(folder, staged, self._store, group=self._workers_group())
        except (OSError, ValueError) as error:
            raise SnapshotError(str(error)) from error
        finally:
            discard(staged)

    # --- the steps --------------------------------------------------------------------------------------------------

    def _fill(self, filling: Filling, disk: Disk, memory: stamps.Memory) -> tuple[list[str], Contents]:
        """Put in what is installed; returns the folders in which there is code, and what was found in the environment.
        ``memory``: what was installed before."""
        files, places, found = disk.files, [manifest.CODE, *map(mirror.home, disk.roots)], Contents()
        if environment := disk.environment:
            env.permit(self.directory)
            moves = Moves(environment, disk.files, disk.roots)
            found = env.contents(environment, moves, disk.roots, memory)
            files = [*moves.apart, *found.files]
            places += [f"{ENV}/{site}" for site in {environment.site, *environment.sites}]
        if memory.generation:
            linked = ahead.take(self.directory, memory.generation, filling.folder)
            filling.take_over(memory.generation, {folder.place: folder.source for folder in found.same}, linked)
        filling.add(files, closed=frozenset({manifest.CELERYCONFIG}))  # it may hold passwords
        mirror.link_neighbours(filling.folder, disk.roots)
        if environment:
            for place, text in found.texts.items():
                filling.write(place, text)
            env.link(filling.folder, found)
            for path in found.closed:
                log.warning("cannot read %s: permission denied; the generation is made without it", path)
            env.confirm(found)
        return places, found

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

    def _workers_group(self) -> int:
        return self.directory.stat().st_gid

    @contextmanager
    def _building(self, number: int) -> Iterator[Filling]:
        """A fresh folder to fill, which becomes the snapshot if the block ends well, and nothing otherwise."""
        folder, final = self.directory / f"{MAKING}{number}", self.directory / str(number)
        filling: Filling | None = None
        try:
            if final.exists():
                raise SnapshotError(f"cannot make generation {number}: {final} exists; was the history lost?")
            discard(folder)
            for part in (manifest.CODE, manifest.RUNTIME, "etc"):
                (folder / part).mkdir(parents=True)
            earlier = [self.directory / str(other) for other in sorted(self._present, reverse=True)]
            filling = Filling(folder, self._store, earlier, group=self._workers_group(), tell=self._tell)
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
            discard(folder)


def _of_release(python: Path) -> str:
    """The interpreter by a path that no link to a release leads to another one. It stays in its virtual environment:
    its own link, which leads out, is not followed."""
    return str(Path(os.path.realpath(python.parent.parent), python.parent.name, python.name))


def perform(order: Order, tell: Tell) -> Any:
    """Return what the order's method returns. Raises SnapshotError as it does."""
    return getattr(Maker(Path(order.directory), order.present, tell), order.act)(*order.arguments)


class _Lines(logging.Handler):
    """What is logged here is logged by trapd, in its own way."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(log=[record.name, record.levelno, record.getMessage()])


def _say(**answer: Any) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Do what is asked, and end with trapd if it ends first."""
    gc.disable()  # what it makes it needs to the end
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        order: Order = pickle.load(sys.stdin.buffer)
    except EOFError:  # there is nothing to do after all
        return
    if os.getppid() != order.by:
        return
    logging.basicConfig(level=logging.INFO, handlers=[_Lines()])
    if order.act == Maker.link_ahead.__name__:
        with suppress(PermissionError):  # the unit's SystemCallFilter= has no @resources
            os.nice(_NICE)
    try:
        _say(done=perform(order, lambda needed: _say(needed=needed)))
    except SnapshotError as error:
        _say(error=str(error))
    except OSError as error:
        _say(error=f"cannot {order.what}: {error.filename}: {(error.strerror or str(error)).lower()}")


if __name__ == "__main__":
    main()
    os._exit(0)  # to free what was made for each of 100,000 files, one by one, takes a tenth of a second
