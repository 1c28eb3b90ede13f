"""``make run``: upgrade the real Trap under running workers and in the middle of a run of its whole pipeline, and prove
that the upgrade disturbed no task, and that the run has one version and the database of trap-run.

``python -m demo [IMAGE...]`` in the checkout takes the user's images; without any it makes its own series of images.
Exit status 0: no task lost, none run twice, every image answered, the databases equal, all workers current; 1: one of
these failed; 2: no such image; 130: interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo import images, pipeline, summary
from demo.drive import NEW, OLD, RATE, Drive
from demo.processes import DemoError, Interrupted
from demo.show import Show, choose
from demo.view import View
from demo.world import WORKERS, World
from trapd.distribute.submit import Submitter


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make run", description="Upgrade Trap under running workers, and watch.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="radio images (FITS); none: made by the command")
    parser.add_argument("--trap", type=Path, metavar="DIR", help="Trap's virtual environment (default: in trapd's own)")
    parser.add_argument("--rate", type=float, default=RATE, metavar="N", help="images a second (default: %(default)g)")
    options = parser.parse_args(arguments)
    for image in options.images:
        if not Path(image).is_file():
            parser.error(f"cannot find {image}: there is no such file")
    show = choose()
    world = World(options.trap and options.trap.absolute())
    try:
        with world.processes.signals(), world:
            wrong = attempt(world, show, options.images, options.rate)
    finally:
        show.close()
    if wrong is None:
        print("Interrupted: everything was stopped and removed.")
        return 130
    wrong += [f"left running, and killed: {words}" for words in world.left]
    print()
    verdict = [f"NOT GOOD: {words}" for words in wrong] or [
        "All good: the upgrade disturbed no task, and the run has one version."
    ]
    print(*verdict, sep="\n")
    return 1 if wrong else 0


def attempt(world: World, show: Show, own: Sequence[str], rate: float) -> list[str] | None:
    """Run the demonstration; return what was wrong, or None if it was interrupted."""
    try:
        return run(world, show, own, rate)
    except DemoError as error:
        return [str(error)]
    except Interrupted:
        show.event("interrupted: stopping trapd and its workers; once more, and they are killed")
        return None


def run(world: World, show: Show, own: Sequence[str], rate: float) -> list[str]:
    """Prepare, drive, account. Returns what was wrong."""
    view = View(f"pip install trap=={OLD} celery (Trap's own virtual environment)", time.time())
    show.event(f"{view.stage}: {world.trap.place}")
    world.trap.prepare(OLD, lambda: show.update(view))
    series = images.own(own) if own else images.make(world.work / "images")
    show.event(f"{len(series)} images, {WORKERS} workers, a broker of files in {world.work}")
    drive = Drive(world, show, series, Submitter(world.configure()), rate)
    times, stale = drive.run()
    tasks = summary.account(drive.tasks, drive.answers, world.runs(), times, NEW)
    found = summary.found(series, drive.answers)
    workers = ("workers current at the end", f"{WORKERS - len(stale)} of {WORKERS}")
    show.table("Computed from the answers, the workers' ledger and trapctl status", [
        *summary.lines(tasks, found, OLD, NEW),
        *pipeline.lines(drive.outcome, drive.waited),
        workers,
    ])  # fmt: skip
    wrong = pipeline.problems(drive.outcome, len(series), OLD)
    if own and wrong:  # Trap may reject the user's images, or find nothing to compare
        show.event(f"the series: {'; '.join(wrong)}")
        wrong = []
    return summary.problems(tasks, found, stale) + wrong


if __name__ == "__main__":
    sys.exit(main())
