"""`trapctl install` and `trapctl uninstall`: make a trapd that pip has installed a service, and undo that.

A record lists each installed file, so that a newer trapd can remove files that it no longer has, and `uninstall` all of
them. The administrator's files, in /etc/trapd, are never overwritten, and removed only on demand.
"""

from __future__ import annotations

import grp
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trapd.ctl import obstacles, shipped
from trapd.ctl.exits import Exit
from trapd.ctl.placing import Placing
from trapd.ctl.shipped import LOCAL
from trapd.errors import NotPermittedError, RefusedError
from trapd.layout import (
    CONFIGURATION,
    RUNTIME_DIRECTORY,
    STATE_DIRECTORY,
    UNITS_KEPT_NOW,
    WORKERS_CACHE,
    WORKERS_RUNTIME,
    WORKERS_STATE,
)
from trapd.units import layout
from trapd.units.layout import Placed

RECORD = LOCAL["lib"] / "installed"  # one path on each line; folders that `install` made end with a slash
SERVICE = LOCAL["units"] / "trapd.service"
FOLDERS = (
    *(CONFIGURATION.parent, STATE_DIRECTORY, WORKERS_STATE, WORKERS_CACHE),
    *(RUNTIME_DIRECTORY, WORKERS_RUNTIME, UNITS_KEPT_NOW),
)
WORKERS = "trapd-worker-*@*.service"

Run = Callable[[Sequence[str]], int]  # a command -> its exit status


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def install(root: Path) -> Exit:
    """Run the verb `install`. Raises NotPermittedError and RefusedError."""
    return _attempt(Installation(root.absolute()).install)


def uninstall(root: Path, *, purge: bool) -> Exit:
    """Run the verb `uninstall`. Raises NotPermittedError and RefusedError."""
    return _attempt(lambda: Installation(root.absolute()).uninstall(purge=purge))


def _attempt(act: Callable[[], None]) -> Exit:
    try:
        act()
    except OSError as error:
        raise RefusedError(f"cannot go on: {error.filename}: {(error.strerror or str(error)).lower()}") from error
    return Exit.OK


@dataclass(frozen=True)
class Installation:
    """One machine. With another ``root`` than /, the folder of a machine that does not run: then nothing is started.

    ``bindir`` holds trapd's commands. All methods raise NotPermittedError, RefusedError and OSError.
    """

    root: Path = Path("/")
    bindir: Path = Path(sys.executable).parent
    say: Callable[[str], None] = print
    run: Run = _run
    as_root: bool = os.geteuid() == 0
    obstacles: Callable[[], Iterable[str]] = obstacles.obstacles

    @property
    def running(self) -> bool:
        return self.root == Path("/")

    # --- install ----------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put every file in its place. A second call changes only files that differ from those of this trapd."""
        self._permit("install")
        if self.running and (reasons := list(self.obstacles())):
            raise RefusedError("\n  ".join(["cannot install trapd as a service:", *reasons]))
        source, placing = shipped.source(), Placing(self.root, self.say)
        files = [*shipped.files(source, self.bindir, LOCAL)]  # read all of them before anything is changed
        links = [*shipped.links(self.bindir, LOCAL)]
        for file in files:
            placing.put(file)
        for link in links:
            placing.link(link)
        present = {RECORD} | {file.path for file in files} | {link.path for link in links}
        recorded, folders = self._recorded(placing)
        for path in sorted(recorded - present):
            placing.remove(path)
        self._record(placing, present, folders | set(placing.made))
        changed = bool(placing.changed)
        self._make_users()
        first = self._configure(placing, source)
        self._make_folders()
        if self.running:
            self._step("systemctl", "daemon-reload")
            self._advise(first, changed)

    def _make_users(self) -> None:
        """Make the users, if this is root: another user can only make a draft in ``root``."""
        if self.as_root:
            self._step("systemd-sysusers", *self._elsewhere(), "trapd.conf")

    def _make_folders(self) -> None:
        if self.as_root:
            self._step("systemd-tmpfiles", *self._elsewhere(), "--create", "trapd.conf")

    def _elsewhere(self) -> list[str]:
        return [] if self.running else [f"--root={self.root}"]

    def _configure(self, placing: Placing, source: Path) -> bool:
        """Put the shipped configuration where there is none yet; return whether there was none at all."""
        written = []
        for path, name, owner, mode in layout.CONFIGURATION:
            written.append(placing.put_if_absent(Placed(path, (source / name).read_text("utf-8"), mode)))
            if written[-1] and self.as_root:
                os.chown(placing.below(path), 0, self._group(owner.partition(":")[2]))
        return all(written)

    def _group(self, name: str) -> int:
        if self.running:
            return grp.getgrnam(name).gr_gid
        lines = (line.split(":") for line in (self.root / "etc/group").read_text().splitlines())
        return next((int(line[2]) for line in lines if line[0] == name), 0)

    def _advise(self, first: bool, changed: bool) -> None:
        if first:
            self.say(f"next: name your application in {CONFIGURATION}; trapctl check; systemctl enable --now trapd")
        elif changed and self.run(["systemctl", "is-active", "--quiet", "trapd.service"]) == 0:
            self.say("next: systemctl restart trapd; its workers go on meanwhile")
        else:
            self.say("trapd is installed")

    # --- uninstall --------------------------------------------------------------------------------------------------

    def uninstall(self, *, purge: bool = False) -> None:
        """Remove all that `install` has put in place, after the workers have finished their tasks. ``purge``: also the
        configuration and the state."""
        self._permit("uninstall")
        placing = Placing(self.root, self.say)
        recorded, folders = self._recorded(placing)
        if not recorded:
            raise RefusedError(f"cannot uninstall: trapctl has installed nothing here; {RECORD} is missing")
        if self.running and placing.below(SERVICE).exists():
            self.say("stopping trapd; its workers finish their tasks first, however long that takes")
            self._step("systemctl", "disable", "--now", "trapd.service")
            self._step(
                "systemctl", "stop", WORKERS, "trapd.slice"
            )  # if trapd did not run, so that it could not stop them
        for path in sorted(recorded):
            placing.remove(path)
        if self.running:
            self._step("systemctl", "daemon-reload")
        for name in FOLDERS if purge else []:
            placing.remove(name)
        placing.remove_empty(folders)
        kept = (
            "the users trapd and trapd-worker" if purge else f"{CONFIGURATION.parent}, {STATE_DIRECTORY} and the users"
        )
        self.say(f"kept {kept}")

    # --- both -------------------------------------------------------------------------------------------------------

    def _permit(self, verb: str) -> None:
        if self.running and not self.as_root:
            raise NotPermittedError(f"cannot {verb}: only root may change what systemd runs; use sudo")

    def _step(self, *command: str) -> None:
        self.say(" ".join(command))
        if status := self.run(command):
            raise RefusedError(
                f"cannot go on: {' '.join(command)} exited with status {status}; repair the cause and begin again"
            )

    def _recorded(self, placing: Placing) -> tuple[set[Path], set[Path]]:
        """Return the files and the folders of the trapd that was installed before."""
        record = placing.below(RECORD)
        lines = record.read_text("utf-8").splitlines() if record.exists() else []
        return {Path(line) for line in lines if line[-1] != "/"}, {Path(line) for line in lines if line[-1] == "/"}

    def _record(self, placing: Placing, files: Iterable[Path], folders: Iterable[Path]) -> None:
        lines = sorted([*map(str, files), *(f"{folder}/" for folder in folders)])
        placing.put(Placed(RECORD, "".join(f"{line}\n" for line in lines), 0o644))
