"""What trapd itself costs while nothing happens: memory, processor time and wake-ups, from /proc; and how soon
``trapctl status`` answers then.

Runs a trapd on the embedded backend and the embedded broker with two idle workers, leaves it alone, then measures the
daemon's process for a minute. Exits with 1 if it costs more than the promised figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.brokers import on_files
from tests.support.daemon import Daemon, settled_on
from tests.support.sample import make_application
from tests.support.upgrade import Setting

RSS_MB, CPU_SECONDS, SWITCHES = 35.0, 0.01, 1.0  # at most: MB, seconds a minute, voluntary context switches a second
ANSWER = 0.15  # s, at most, for trapctl status
STARTS = 16.0  # of Python, at most, for the same: they were 8 of twice the time, when .venv had a finder to import


@dataclass(frozen=True)
class Sample:
    """One process at one moment; sums over its threads."""

    at: float
    cpu: float  # s of processor time so far
    switches: int  # voluntary context switches so far: how often it slept and was woken

    @classmethod
    def of(cls, pid: int) -> Sample:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        # schedstat counts nanoseconds; the ticks of /proc/PID/stat are 10 ms, as large as what is allowed.
        cpu = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        switches = sum(int(_field(task / "status", "voluntary_ctxt_switches")) for task in tasks)
        return cls(time.monotonic(), cpu, switches)


def _field(status: Path, name: str) -> str:
    return next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:")).split()[1]


def measure(pid: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Quantity -> (measured, allowed), over ``seconds`` from now."""
    first = Sample.of(pid)
    time.sleep(seconds)
    last = Sample.of(pid)
    span = last.at - first.at
    return {
        "resident memory, MB": (int(_field(Path(f"/proc/{pid}/status"), "VmRSS")) / 1024, RSS_MB),
        "processor time, s a minute": ((last.cpu - first.cpu) / span * 60, CPU_SECONDS),
        "voluntary context switches a second": ((last.switches - first.switches) / span, SWITCHES),
    }


def answer(daemon: Daemon) -> dict[str, tuple[float, float]]:
    """Quantity -> (measured, allowed): the best of ten, with Python's own start, which alone is there to compare."""
    bare, took = list[float](), list[float]()
    for _ in range(10):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare.append(time.monotonic() - began)
        began = time.monotonic()
        daemon.ctl("status").check_returncode()
        took.append(time.monotonic() - began)
    return {"trapctl status, s": (min(took), ANSWER), "the same, in starts of Python": (min(took) / min(bare), STARTS)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settle", type=float, default=30, help="seconds to wait after the workers are ready")
    parser.add_argument("--seconds", type=float, default=60, help="seconds to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        directory = Path(name)
        application = make_application(directory)
        application.install(application.wheel("1.0"))
        setting = Setting(on_files(directory / "broker"), acks_late=False)
        with Daemon(directory, celeryconfig=setting.celeryconfig(), tables=setting.tables(application)) as daemon:
            daemon.wait_until("two workers", settled_on("1.0", setting.workers))
            assert daemon.process is not None
            time.sleep(options.settle)
            figures = measure(daemon.process.pid, options.seconds) | answer(daemon)
    for quantity, (value, most) in figures.items():
        print(f"{quantity:40} {value:8.3f}   at most {most:g}   {'ok' if value <= most else 'TOO MUCH'}")
    return int(any(value > most for value, most in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
