"""Four workers of one slot with tasks of 40 s are replaced: side by side, and one after the other as before.

The same story as tests/system/test_long_tasks.py, with tasks that are long. Exits with 1 if the promise is not kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.upgrade_under_load import KINDS, broker
from tests.support.long_tasks import Rolled, upgrade_with_long_tasks
from tests.support.sample import Application, make_application

WORKERS = 4
LONGEST = 65.0  # s, with tasks of 40 s: promised


def run(kind: str, task: float, application: Application, *, in_step: bool = False, **policy: object) -> Rolled:
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        directory = Path(name)
        (directory / "broker").mkdir()
        (directory / "trapd").mkdir()
        with broker(kind, directory / "broker") as where:
            return upgrade_with_long_tasks(
                where,
                application,
                directory / "trapd",
                task=task,
                workers=WORKERS,
                in_step=in_step,
                policy=policy,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS, default="redis", help="the broker; redis if none")
    parser.add_argument("--task", type=float, default=40.0, metavar="SECONDS", help="length of each task")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        application = make_application(Path(name))
        together = run(options.kind, options.task, application)
        print(f"side by side, max_draining = auto: {together}", flush=True)
        before = run(options.kind, options.task, application, max_draining=0)
        print(f"one after the other, max_draining = 0: {before}")
    print(f"ratio: {together.seconds / before.seconds:.2f}")
    kept = together.seconds <= LONGEST - 40 + options.task and together.fewest_ready >= WORKERS
    print(
        f"{WORKERS} workers with tasks of {options.task:g} s: {together.seconds:.1f} s {'kept' if kept else 'NOT KEPT'}"
    )
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
