"""The paths of all files of trapd on disk, so that a reader finds them in one place.

Standard library only: this file travels with each generation, because a worker writes into both directories. The paths
of the files of the *package* (units, generator, man pages) are in ``trapd/units/layout.py``, those inside a generation
in ``trapd/generations/manifest.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# --- fixed paths: the shipped units and scripts name them too, and tests/unit/test_paths.py compares -----------------

CONFIGURATION = Path("/etc/trapd/trapd.toml")
CELERYCONFIG = Path("/etc/trapd/celeryconfig.py")
# The generator's copies of the unit files that were good: of this boot, and for the next one
UNITS_KEPT_NOW = Path("/run/trapd-units.last-good")
UNITS_KEPT = Path("/etc/trapd/units.last-good")
STATE_DIRECTORY = Path("/var/lib/trapd")  # default of [trapd] state_directory
RUNTIME_DIRECTORY = Path("/run/trapd")  # default of [trapd] runtime_directory
BOOT = STATE_DIRECTORY / "boot"  # units that trapd-boot.service starts at boot, one a line
# StateDirectory=, CacheDirectory= and RuntimeDirectory= of workers that systemd runs
WORKERS_STATE = Path("/var/lib/trapd-worker")
WORKERS_CACHE = Path("/var/cache/trapd-worker")
WORKERS_RUNTIME = Path("/run/trapd-worker")
SYSTEMD_BOOTED = Path("/run/systemd/system")  # there if systemd is PID 1: sd_booted(3)


# --- in a generation: what those who start something on one have to know; the rest is in generations/manifest.py ---


def interpreter(generation: Path, named: str) -> str:
    """The interpreter of a generation: that of its own environment if it has one; else the installed one, ``named`` in
    its manifest."""
    own = generation / "env/bin/python"
    return str(own) if own.is_symlink() else named


# --- below the two directories of trapd.toml -------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """``state_directory``: files that outlive a reboot."""

    path: Path

    @property
    def history(self) -> Path:
        """The SQLite database; its write-ahead log lies beside it."""
        return self.path / "history.sqlite"

    @property
    def lock(self) -> Path:
        """The file that the running trapd holds locked (flock(2)): one trapd for each state directory."""
        return self.path / "lock"

    @property
    def generations(self) -> Path:
        """A folder for each generation, named by its number."""
        return self.path / "generations"

    @property
    def store(self) -> Path:
        """The files that generations have in common, named by their content."""
        return self.path / "store"

    @property
    def stamps(self) -> Path:
        """Digests of what is installed, from when it was copied; may be removed."""
        return self.path / "stamps.jsonl"

    @property
    def kept(self) -> Path:
        """Generations that were not removed, because another program wrote files into them."""
        return self.path / "kept"

    @property
    def logs(self) -> Path:
        """The logs of workers of the embedded backend."""
        return self.path / "logs"

    @property
    def workers(self) -> Path:
        """Files that workers of the embedded backend keep: revokes, Celery's statedb, beat's schedule. Under systemd
        the folder is ``WORKERS_STATE / "pools"``, which their unit names."""
        return self.path / "workers"


@dataclass(frozen=True)
class Runtime:
    """``runtime_directory``, or ``WORKERS_RUNTIME`` for workers that systemd runs: files that no reboot survives."""

    path: Path

    @property
    def control(self) -> Path:
        """The socket to which trapctl connects."""
        return self.path / "control.sock"

    @property
    def lock(self) -> Path:
        """The lock of this directory; its name differs from the state directory's, because both may be one folder."""
        return self.path / "trapd.lock"

    @property
    def notify(self) -> Path:
        """The socket on which the embedded backend receives READY=1 and WATCHDOG=1."""
        return self.path / "notify.sock"

    @property
    def instances(self) -> Path:
        """Files of single workers."""
        return self.path / "instances"

    def report(self, instance: str) -> Path:
        """The report of the worker ``default@7-1`` about its code; the worker writes the file itself."""
        return self.instances / f"{instance}.json"

    def task_socket(self, instance: str) -> Path:
        """The socket on which the worker answers what it runs."""
        return self.instances / f"{instance}.sock"

    def task_table(self, instance: str) -> Path:
        """The tasks that the worker runs, or ran when it was killed."""
        return self.instances / f"{instance}.tasks"

    def receipt(self, instance: str) -> Path:
        """What became of the tasks that the worker held when its drain began."""
        return self.instances / f"{instance}.receipt"

    def process(self, instance: str) -> Path:
        """Its main process, for the trapd that starts after this one was killed (embedded backend)."""
        return self.instances / f"{instance}.pid"
