"""Trap's whole pipeline: by `trapctl run` over the workers, and by trap-run, whose database is to be the same."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from demo import databases
from demo.images import Image
from demo.world import World

OPTIONS = ("--max_nr_consecutive_force_fits", "5")
# trap-run, with what the workers' numba has compiled: only the time differs.
TRAP_RUN = f"""
import os, sys
sys.path.append({str(Path(__file__).parents[1])!r})
from pathlib import Path
from trapd.worker import numba_cache

cache = numba_cache.wanted(Path(), os.environ)
from trap import cli, run

cache.publish()
cli.run_batch()
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the run has written. ``versions``: of Trap, one for each code that answered."""

    status: int  # the exit status of trapctl
    images: int
    versions: tuple[str, ...]
    differences: tuple[str, ...]  # from the database of trap-run
    rows: int  # of all tables that both have


class Pipeline:
    """One series, run twice: ``begin_reference``, and later ``begin``."""

    def __init__(self, world: World, images: Sequence[Image]) -> None:
        self.total = len(images)
        self._world, self._images = world, images
        self._database, self._reference = world.work / "series.sqlite", world.work / "trap-run.sqlite"
        self._kept = world.work / "answers"

    def begin_reference(self) -> None:
        command = [str(self._world.trap.python), "-c", TRAP_RUN, *self._options(self._reference)]
        self._world.processes.start("trap-run", command)

    def begin(self) -> None:
        """One image after the other: the workers have a stream of others to do meanwhile."""
        trapctl = [str(Path(sys.executable).with_name("trapctl")), "--config", str(self._world.configuration)]
        own = ["--in-flight", "1", "--keep", str(self._kept)]
        self._world.processes.start("series", [*trapctl, "run", *own, "--", *self._options(self._database)])

    def reference_ended(self, status: int) -> None:
        """What a trap-run that failed has left is nothing to compare with."""
        if status:
            self._reference.unlink(missing_ok=True)

    def answered(self) -> int:
        """How many answers have come so far: one for each image, and one for each that was measured once more."""
        return sum(1 for _ in self._kept.glob("*.json"))

    def outcome(self, status: int) -> Outcome:
        """Compare the two databases."""
        if not self._database.exists():
            words = self._world.processes.last_words("series", 5)
            return Outcome(status, 0, (), (f"there is no database: {words}",), 0)
        if not self._reference.exists():
            words = self._world.processes.last_words("trap-run", 5)
            return Outcome(status, 0, (), (f"trap-run wrote none: {words}",), 0)
        with closing(sqlite3.connect(self._database)) as connection:
            rows = connection.execute("select trap, digest from trapd_provenance where error is null").fetchall()
        return Outcome(
            status,
            len(rows),
            tuple(sorted(version for version, _ in set(rows))),
            tuple(databases.differences(self._reference, self._database)),
            sum(databases.rows(self._database).values()),
        )

    def _options(self, database: Path) -> list[str]:
        images = [word for image in self._images for word in ("-i", image.path)]
        return [*images, "--db_name", str(database), "--log_dir", str(self._world.work / "trap-logs"), *OPTIONS]


def problems(outcome: Outcome | None, total: int, old: str) -> list[str]:
    """Return why the run of the series is no success; None: it did not come to its end."""
    if outcome is None:
        return ["the run of the series did not come to its end"]
    wrong = [f"trapctl run ended with status {outcome.status}"] if outcome.status else []
    if outcome.versions != (old,):
        wrong.append(f"the run is to have trap {old} alone, and has {', '.join(outcome.versions) or 'none'}")
    if outcome.images != total:
        wrong.append(f"the database of the run has {outcome.images} of {total} images")
    wrong += [f"the database differs from that of trap-run: {words}" for words in outcome.differences[:3]]
    return wrong


def lines(outcome: Outcome | None, waited: float) -> list[tuple[str, str]]:
    """The part of the summary that is about the series. ``waited``: seconds from pip's end to the end of the run."""
    if outcome is None:
        return [("the series", "did not come to its end")]
    equal = "equal" if not outcome.differences else f"{len(outcome.differences)} differences"
    return [
        ("images of the series, by trapctl run", f"{outcome.images}  (all on trap {' and '.join(outcome.versions)})"),
        ("its database and that of trap-run", f"{equal}  ({outcome.rows} rows)"),
        ("the upgrade waited for its end", f"{max(0.0, waited):.2f} s"),
    ]
