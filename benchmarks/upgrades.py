"""The same upgrades by an earlier trapd and by this one, in one run.

``python -m benchmarks.upgrades --before REVISION [settling] [long-tasks] [many-files]``: git makes a work tree of the
earlier revision for the run. Both run on the same interpreter with the same libraries, and each measurement is the same
program, that of the other benchmarks: only the programs ``trapd`` and ``trapctl`` beside the interpreter differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks import named, scale
from benchmarks.long_tasks import run as run_long_tasks
from benchmarks.settling import TOOLS
from benchmarks.settling import measure as settle
from benchmarks.upgrade_under_load import broker
from tests.support.daemon import Daemon, pool
from tests.support.sample import Application, make_application
from tests.support.upgrade import Setting

ROOT = Path(__file__).parents[1]
PATIENCE = 900.0  # s for a rollout of 100,000 files by the earlier trapd
Figures = dict[str, float]


# --- two trees --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """A trapd to measure: its code, and an interpreter beside which its programs lie."""

    name: str
    code: Path
    python: Path

    def measure(self, what: str, *options: str) -> Figures:
        """Run this module in a process of its own; returns its figures. Raises CalledProcessError."""
        command = [str(self.python), "-m", "benchmarks.upgrades", "--only", what, "--code", str(self.code), *options]
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
        )
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        print(f"{self.name}: {json.dumps(figures)}", flush=True)
        return figures


@contextlib.contextmanager
def work_tree(revision: str, place: Path) -> Iterator[Path]:
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(place), revision], check=True)
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], check=True)


def tree(name: str, code: Path, place: Path) -> Tree:
    """An environment that sees this code first and then our own libraries, but none of our path files."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    site = next((place / "lib").glob("python3*/site-packages"))
    (site / "trees.pth").write_text(f"{code}\n{sysconfig.get_path('purelib')}\n")
    for program, module in {"trapd": "trapd.__main__", "trapctl": "trapd.ctl.main"}.items():
        script = place / "bin" / program
        script.write_text(f"#!{place}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        script.chmod(0o755)
    return Tree(name, code, place / "bin/python")


# --- the measurements -------------------------------------------------------------------------------------------------


def settling(options: argparse.Namespace) -> Figures:
    """Of each installer, medians."""
    figures = {}
    for tool in options.tools:
        came = settle(options.code, tool, files=options.files, upgrades=options.rounds)
        figures[f"{tool}, {options.files:,} files: end to the first start, s"] = median(came.start)
        figures[f"{tool}, {options.files:,} files: end to the first task on new code, s"] = median(came.task)
    return figures


def long_tasks(options: argparse.Namespace) -> Figures:
    """Four workers of one slot, whose tasks began at different times, and then at one time."""
    figures = {}
    with scratch() as directory:
        application = make_application(directory)
        for when, in_step in {"in turn": False, "together": True}.items():
            rolled = run_long_tasks("redis", options.task, application, in_step=in_step)
            what = f"4 workers, tasks of {options.task:g} s that begin {when}"
            figures[f"{what}: end of pip until all are new, s"] = rolled.seconds
            figures[f"{what}: fewest workers ready"] = rolled.fewest_ready
    return figures


def many_files(options: argparse.Namespace) -> Figures:
    """One worker of an application of many files, of which each upgrade changes one."""
    with scratch() as directory, broker("redis", directory / "broker") as where:
        application = scale.make(directory, options.folders, options.modules, editable=False)
        subprocess.run(["sync"], check=True)
        setting = Setting(where, acks_late=False, workers=1, concurrency=1)
        tables = {
            **setting.tables(Application(application.python, directory)),
            "watch": {"distributions": list(application.watched), "ceiling": "5min"},
            "rollout": {"min_ready": "1s"},
        }
        waits, began = [], time.monotonic()
        with Daemon(directory / "trapd", celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
            daemon.wait_until("a worker", scale.serves(1), timeout=PATIENCE, every=1)
            ready = time.monotonic() - began
            assert daemon.process is not None
            memory = scale.Memory(daemon.process.pid)
            first = memory.own()
            for number in range(1, options.upgrades + 1):
                ended = application.prepare(number, directory)()
                status = daemon.wait_until("a new worker", scale.serves(number + 1), timeout=PATIENCE, every=1)
                [instance] = pool(status)["instances"]
                waits.append(psutil.Process(instance["pid"]).create_time() - ended)
            last = memory.own()
    files = options.folders * options.modules
    return {
        f"{files:,} files: start of trapd to a ready worker, s": ready,
        "trapd's highest resident set with the first worker, MB": first,
        f"the same after {options.upgrades} upgrades of one file, MB": last,
        "end of an upgrade of one file to the first start, s": median(waits),
    }


# --- the run ----------------------------------------------------------------------------------------------------------


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "settling": settling,
    "long-tasks": long_tasks,
    "many-files": many_files,
}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a short path, and folders for a broker and a trapd in it."""
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        for folder in ("broker", "trapd"):
            (Path(name) / folder).mkdir()
        yield Path(name)


def compare(revision: str, chosen: Sequence[str], options: Sequence[str]) -> None:
    """Make each measurement of both, one after the other, and print a table."""
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name, work_tree(revision, Path(name, "before")) as old:
        earlier, now = tree("before", old, Path(name, "1")), tree("after", ROOT, Path(name, "2"))
        rows = []
        for what in chosen:
            before, after = earlier.measure(what, *options), now.measure(what, *options)
            rows += [f"| {figure} | {before[figure]:.2f} | {after[figure]:.2f} |" for figure in before]
    print("\n| | before | after |\n|---|---|---|", *rows, sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", nargs="*", metavar="WHAT", help=f"of {', '.join(MEASUREMENTS)}; all if none")
    parser.add_argument("--before", metavar="REVISION", help="the earlier one, for git")
    parser.add_argument("--only", choices=MEASUREMENTS, help="measure the trapd beside this interpreter; print JSON")
    parser.add_argument("--code", type=Path, default=ROOT, help="the source tree of that trapd")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS, help="that settling uses")
    parser.add_argument("--rounds", type=int, default=5, help="upgrades by each tool")
    parser.add_argument("--files", type=int, default=5000, help="in the environment that pip and uv upgrade")
    parser.add_argument("--task", type=float, default=40.0, help="seconds that a long task takes")
    parser.add_argument("--folders", type=int, default=scale.FOLDERS, help="of the application of many files")
    parser.add_argument("--modules", type=int, default=scale.MODULES, help="in each folder")
    parser.add_argument("--upgrades", type=int, default=3, help="of one file of many")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(MEASUREMENTS[options.only](options)))
        return 0
    named.check(parser, "measurement", options.measurements, MEASUREMENTS)
    if not options.before:
        parser.error("say --before REVISION")
    names = ("rounds", "files", "task", "folders", "modules", "upgrades")
    compare(
        options.before,
        options.measurements or list(MEASUREMENTS),
        [*(f"--{name}={getattr(options, name)}" for name in names), "--tools", *options.tools],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
