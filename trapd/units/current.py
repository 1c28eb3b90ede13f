"""Compare the units that systemd has loaded with the settings, and name the commands that remove a difference.

Any user may do that, because it only reads files: PID 1 has read the files that the generator wrote at the same
daemon-reload.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trapd import layout as disk
from trapd.settings import Settings, resolve_backend
from trapd.units import directives, layout
from trapd.units.render import render

GENERATED = Path("/run/systemd/generator")
BASE = "trapd-worker@.service.in"
BASES = tuple(folders["lib"] / BASE for folders in (layout.PACKAGE, layout.LOCAL))
_RELOAD = "run `systemctl daemon-reload`, then `systemctl restart trapd`"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that systemd or the disk lacks; ``remedy`` is a command, for root."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def gaps(
    settings: Settings, *, generated: Path = GENERATED, bases: tuple[Path, ...] = BASES, file: Path = disk.CONFIGURATION
) -> list[Gap]:
    """Return all gaps; none if trapd itself runs the workers. May block for 0.1 s.

    ``file`` is the trapd.toml that the generator reads: for any other trapd.toml the list is empty.
    """
    if resolve_backend(settings) != "systemd" or settings.file != file:
        return []
    base = next((path for path in bases if path.is_file()), None)
    if base is None:
        return [Gap("trapd's units are not installed", "run `trapctl install`")]
    return [*_unread(settings, base, generated), *_folders(settings)]


def _unread(settings: Settings, base: Path, generated: Path) -> Iterator[Gap]:
    known = directives.ask() if any(pool.unit for pool in settings.pools) else {}
    files = render(settings, text(base) or "", known).files
    outdated = sorted(name for name, content in files.items() if text(generated / name) != content)
    if outdated:
        yield Gap(f"systemd has not read {settings.file} as it is now: {', '.join(outdated)}", _RELOAD)


def _folders(settings: Settings) -> Iterator[Gap]:
    """Yield gaps of the folders that the units make themselves only in the default places."""
    state, runtime = settings.state_directory, settings.runtime_directory
    if state != disk.STATE_DIRECTORY:
        yield from _folder(state, "0711", "trapd")
        yield from _folder(disk.State(state).generations, "2750", "trapd-worker")  # workers read the files in it
    if runtime != disk.RUNTIME_DIRECTORY:
        yield from _folder(runtime, "0755", "trapd")


def _folder(path: Path, mode: str, group: str) -> Iterator[Gap]:
    everything = "--recursive " if group != "trapd" else ""
    give = f"run `chown {everything}trapd:{group} {path}`"
    with suppress(PermissionError, NotADirectoryError):
        try:
            status = path.stat()
        except FileNotFoundError:
            yield Gap(f"{path} is not there", f"run `install -d -m {mode} -o trapd -g {group} {path}`")
            return
        if status.st_uid != _number(lambda: pwd.getpwnam("trapd").pw_uid, status.st_uid):
            yield Gap(f"{path} does not belong to user trapd", give)
        elif group != "trapd" and status.st_gid != _number(lambda: grp.getgrnam(group).gr_gid, status.st_gid):
            yield Gap(f"{path} does not belong to group {group}", give)


def _number(look: Callable[[], int], otherwise: int) -> int:
    with suppress(KeyError):
        return look()
    return otherwise


def text(path: Path) -> str | None:
    """Return the text of a file, or None if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return None
