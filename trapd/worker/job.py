"""What one worker process was started for."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trapd import environment
from trapd.layout import Runtime, State
from trapd.worker import launch
from trapd.worker.loaded import Loaded


@dataclass(frozen=True)
class Job:
    """One slot of one generation of one pool, and what the generation's manifest says."""

    pool: str
    slot: str  # GENERATION-SLOT
    generation: Path  # the snapshot
    runtime: Path
    manifest: dict[str, Any]

    @classmethod
    def parse(cls, arguments: list[str]) -> Job:
        """From the command line. Raises LaunchError."""
        match arguments:
            case [pool, slot, "--generation", generation, "--runtime", runtime] if slot.partition("-")[2].isdecimal():
                manifest = launch.read_manifest(Path(generation))
                launch.pool_of(manifest, pool)
                return cls(pool, slot, Path(generation), Path(runtime), manifest)
            case _:
                raise launch.LaunchError(
                    "expected POOL GENERATION-SLOT --generation DIRECTORY --runtime DIRECTORY, "
                    f"not {' '.join(arguments)!r}"
                )

    @property
    def instance(self) -> str:
        """``default@7-1``"""
        return f"{self.pool}@{self.slot}"

    @cached_property
    def node(self) -> str:
        """Celery's node name, ``default-7-1@host``: unique, so old and new can run side by side."""
        return f"{self.pool}-{self.slot}@{self.host}"

    @cached_property
    def host(self) -> str:
        return socket.gethostname()

    @property
    def number(self) -> int:
        return int(self.manifest["number"])

    @property
    def settings(self) -> dict[str, Any]:
        return launch.pool_of(self.manifest, self.pool)

    @property
    def folders(self) -> list[Path]:
        """What comes first on the import path."""
        return [self.generation / folder for folder in self.manifest["import_path"]]

    @property
    def code(self) -> list[Path]:
        """Where the watched packages have to come from: of what comes first, all but trapd's own part; and what is
        installed in the generation's own environment, if it has one."""
        first = [folder for folder in self.folders if folder.name != "runtime" or folder.parent != self.generation]
        return first + [self.generation / "env" / place for place in self._places]

    @property
    def installed(self) -> list[Path]:
        """Folders and modules of which this generation has copies: nothing is to be imported from them."""
        about = self._environment
        return [Path(source) for source in [*about.get("sites", {}).values(), *about.get("parts", ())]]

    @property
    def prefix(self) -> str:
        """The environment that this generation has a copy of; empty if it has none."""
        return str(self._environment.get("prefix", ""))

    @property
    def _places(self) -> list[str]:
        """Where in the generation's own environment packages are."""
        about = self._environment
        return list(dict.fromkeys(filter(None, [about.get("site"), *about.get("sites", {})])))

    @property
    def _environment(self) -> dict[str, Any]:
        found: dict[str, Any] = self.manifest.get("environment") or {}
        return found

    @property
    def packages(self) -> frozenset[str]:
        """The watched packages: top-level ones, and those in a namespace, with a dot."""
        return frozenset(name for names in self.manifest["watched"].values() for name in names)

    @property
    def celeryconfig(self) -> Path:
        return self.generation / str(self.manifest["celeryconfig"])

    @property
    def shared(self) -> Path:
        """The folder of all pools for what is to outlive generations and reboots; perhaps not there yet.

        Under systemd it lies in the workers' StateDirectory=, and their unit names it. Not an argument: the worker of
        an older generation refuses arguments that it does not know. trapd reads nothing there.
        """
        return Path(os.environ.get(environment.SHARED) or State(self.generation.parent.parent).workers)

    @cached_property
    def keep(self) -> Path:
        """The pool's own folder in ``shared``; made if it is not there. Raises OSError."""
        folder = self.shared / self.pool
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @cached_property
    def loaded(self) -> Loaded:
        """What this worker has loaded."""
        return Loaded(str(self.generation))

    @property
    def report_file(self) -> Path:
        return Runtime(self.runtime).report(self.instance)

    @property
    def task_socket(self) -> Path:
        return Runtime(self.runtime).task_socket(self.instance)

    @property
    def task_table(self) -> Path:
        return Runtime(self.runtime).task_table(self.instance)

    @property
    def receipt(self) -> Path:
        return Runtime(self.runtime).receipt(self.instance)
