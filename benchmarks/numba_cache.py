"""What numba's cache saves a worker of the real Trap: without a cache, with an empty one and with a full one, in turns.

Takes Trap's environment of ``make run``, or makes it. Each round imports Trap three times in a process of its own, and
starts a worker of a real trapd twice: once after its cache was removed, once with what that start
has left. At the end an upgrade of Trap alone and one that changes radio-pyse are done with pip. Processor times do not
depend on what else the machine does; times in seconds do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.drive import NEW, OLD
from demo.processes import Processes
from demo.trapenv import TrapEnvironment, default_place
from tests.support.daemon import Daemon, Status, pool
from tests.support.wheels import write_wheel
from trapd import process_stat

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "etc/celeryconfig-embedded.py"
PROMISED = 0.25  # of the processor time of an import without a cache
PATIENCE = 600.0  # s for one start of a worker, on a machine that does much else
TICK = os.sysconf("SC_CLK_TCK")
IMPORT = f"""
import json, os, resource, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from trapd.worker import numba_cache

def cpu():
    return time.process_time()

cache = numba_cache.wanted(Path(sys.argv[1]), os.environ)
began, spent = time.monotonic(), cpu()
import trapd.distribute.tasks
done, used = time.monotonic(), cpu()
from trapd.distribute import smoke
smoke.known_source()
first = time.monotonic()
cache.publish()
print(json.dumps({{
    "import, CPU s": used - spent,
    "import, s": done - began,
    "first image, s": first - done,
    "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "not kept": sorted(cache.not_kept),
}}))
"""
Figures = dict[str, float]


def imported(python: Path, cache: Path, *, wanted: bool) -> Figures:
    """Import Trap as a worker does, then process one small image."""
    env = {**os.environ, "TRAPD_NUMBA_CACHE": "auto" if wanted else "false"}
    done = subprocess.run(
        [str(python), "-P", "-c", IMPORT, str(cache)], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if refused := figures.pop("not kept"):
        print(f"numba does not keep {', '.join(refused)}")
    return figures


def imports(python: Path, rounds: int, work: Path) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {"without": [], "fills it": [], "full": []}
    for number in range(rounds):
        cache = work / f"imports-{number}"
        found["without"].append(imported(python, cache, wanted=False))
        found["fills it"].append(imported(python, cache, wanted=True))
        found["full"].append(imported(python, cache, wanted=True))
    return found


class Worker:
    """The one worker of a trapd, and each start of it."""

    def __init__(self, daemon: Daemon, site: Path) -> None:
        self.daemon, self.site = daemon, site
        self._last = 0

    def started(self) -> Figures:
        """Wait until a later generation's worker is alone and ready; what its start cost."""

        def ready(status: Status) -> bool:
            found = pool(status)["instances"]
            return [(one["state"], one["code"]) for one in found] == [("ready", "current")] and (
                found[0]["generation"] > self._last
            )

        [instance] = pool(self.daemon.wait_until("a worker", ready, timeout=PATIENCE, every=1.0))["instances"]
        self._last = instance["generation"]
        stat = process_stat.fields(instance["pid"])
        events = json.loads(self.daemon.ctl("events", "--json", "--limit", "100").stdout)["events"]
        [event] = [one for one in events if one["kind"] == "ready" and one["instance"] == instance["name"]]
        # with what the processes that it waited for took; its children are there still
        return {
            "start to ready, CPU s": sum(map(int, stat[11:15])) / TICK,
            "start to ready, s": event["duration"],
            "ready at": event["at"],
        }

    def forget(self) -> None:
        """Remove what numba compiled: the worker that runs needs none of it any more."""
        for folder in self.daemon.state.rglob("numba"):
            if folder.parent.name == "workers":
                shutil.rmtree(folder)

    def again(self) -> Figures:
        assert self.daemon.ctl("recycle", "--no-wait").returncode == 0
        return self.started()

    def upgraded(self, install: Callable[[], object]) -> Figures:
        """Of the worker that the installation leads to; and the seconds from the installer's end until it was ready."""
        install()
        ended = time.time()
        figures = self.started()
        return {**figures, "installer's end to ready, s": figures["ready at"] - ended}


def starts(worker: Worker, rounds: int) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {"fills it": [], "full": []}
    worker.started()
    for _ in range(rounds):
        worker.forget()
        found["fills it"].append(worker.again())
        found["full"].append(worker.again())
    return found


def upgrades(worker: Worker, trap: TrapEnvironment, work: Path) -> dict[str, list[Figures]]:
    def pip(*what: str) -> None:
        quiet = ("--quiet", "--disable-pip-version-check", "--no-deps")
        subprocess.run([str(trap.python), "-m", "pip", "install", *quiet, *what], check=True)

    [installed] = worker.site.glob("radio_pyse-*.dist-info")
    version = installed.name.removesuffix(".dist-info").partition("-")[2]
    try:
        return {
            f"Trap alone ({OLD} to {NEW})": [worker.upgraded(lambda: pip(f"trap=={NEW}"))],
            "radio-pyse": [worker.upgraded(lambda: pip(str(edited(worker.site, version, work))))],
        }
    finally:
        pip("--force-reinstall", f"radio-pyse=={version}")


def edited(site: Path, version: str, work: Path) -> Path:
    """A wheel of the radio-pyse that is installed, with one more comment in it."""
    record = (site / f"radio_pyse-{version}.dist-info/RECORD").read_text().splitlines()
    names = [line.rsplit(",", 2)[0] for line in record]
    sources = {name: (site / name).read_text() for name in names if name.endswith(".py")}
    changed = next(name for name in sorted(sources) if "njit" in sources[name] or "guvectorize" in sources[name])
    sources[changed] += "# another one\n"
    info = (site / f"radio_pyse-{version}.dist-info/METADATA").read_text().splitlines()
    needed = [line.partition(": ")[2] for line in info if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    return write_wheel(work, "radio-pyse", f"{version}+edited", sources, requires=needed)


def show(title: str, found: dict[str, list[Figures]]) -> None:
    """The medians as a table."""
    names = [name for name in next(iter(found.values()))[0] if name != "ready at"]
    print(f"\n{title:30}" + "".join(f"{state:>24}" for state in found))
    for name in names:
        print(f"{name:30}" + "".join(f"{median(of, name):24.2f}" for of in found.values()))


def median(of: list[Figures], name: str) -> float:
    return statistics.median(figures[name] for figures in of)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trap", type=Path, help="Trap's virtual environment (default: that of make run)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        work = Path(name)
        trap = TrapEnvironment(options.trap or default_place(work), Processes(work))
        trap.prepare(OLD, lambda: time.sleep(0.1))
        [site] = trap.place.glob("lib/python3*/site-packages")
        try:
            return measured(trap, site, options.rounds, work)
        finally:
            trap.close()


def measured(trap: TrapEnvironment, site: Path, rounds: int, work: Path) -> int:
    of_imports = imports(trap.python, rounds, work)
    show("cache:", of_imports)
    tables: dict[str, dict[str, Any]] = {
        "app": {"python": str(trap.python), "smoke_test": "trapd.distribute.smoke:known_source"},
        "pools.default": {"workers": 1, "concurrency": 1},
        "rollout": {"min_ready": "0s"},
    }
    os.environ["TRAPD_STATE_DIRECTORY"] = str(work / "state")
    with Daemon(work, celeryconfig=EMBEDDED.read_text(), tables=tables) as daemon:
        worker = Worker(daemon, site)
        show("cache:", starts(worker, rounds))
        show("upgrade of:", upgrades(worker, trap, work))
    ratio = median(of_imports["full"], "import, CPU s") / median(of_imports["without"], "import, CPU s")
    print(f"\nimport with a full cache: {ratio:.2f} of one without; promised: at most {PROMISED:g}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    return int(ratio > PROMISED)


if __name__ == "__main__":
    sys.exit(main())
