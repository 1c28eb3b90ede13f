"""``trapctl logs``: show the lines of the workers, and trapd's lines about them, wherever this backend keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from trapd.errors import RefusedError, UsageError
from trapd.layout import State
from trapd.settings import Settings, resolve_backend

LINES = 100  # the default; `systemctl status` and kubectl's --tail show few lines, too


@dataclass(frozen=True, slots=True)
class Wish:
    """The lines to show, in the words of journalctl, and the form in which to show them."""

    follow: bool = False
    lines: int | None = None
    priority: str | None = None
    since: str | None = None
    until: str | None = None
    as_json: bool = False

    @property
    def count(self) -> int | None:
        """The number of last lines to show; None: all lines of that time."""
        return LINES if self.lines is None and not (self.since or self.until) else self.lines


def journal_command(subject: str | None, wish: Wish) -> list[str]:
    """Return the journalctl command. Lines of trapd and of workers have the same fields: one match finds both."""
    times = {"since": wish.since, "until": wish.until, "priority": wish.priority, "lines": wish.count}
    return [
        "journalctl",
        "--no-hostname",
        f"--output={'json' if wish.as_json else 'short-iso'}",
        *(["--follow"] if wish.follow else ["--no-pager"]),
        *(f"--{name}={value}" for name, value in times.items() if value is not None),
        *_matches(subject),
    ]


def _matches(subject: str | None) -> list[str]:
    if subject is None:
        return ["--unit=trapd.service", "--unit=trapd-worker-*@*.service"]
    return [f"INSTANCE={subject}" if "@" in subject else f"POOL={subject}"]


def file_command(files: Sequence[Path], *, follow: bool, lines: int = LINES) -> list[str]:
    """Return the tail command that shows log files of workers; with ``follow`` it continues in a file that was
    emptied."""
    return ["tail", f"--lines={lines}", *(["--follow=name", "--retry", "--quiet"] if follow else []), *map(str, files)]


def log_files(directory: Path, subject: str | None) -> list[Path]:
    """Return the log files of a pool, an instance, or all, the oldest first."""
    asked = (f for f in directory.glob("*.log") if subject in (None, f.stem, f.stem.partition("@")[0]))
    return sorted(asked, key=lambda file: file.stat().st_mtime)


def refuse_unknown(subject: str, settings: Settings) -> None:
    """Raise UsageError for an unknown pool: journalctl would only print that there are no lines."""
    pool, names = subject.partition("@")[0], [spec.name for spec in settings.pools]
    if pool not in names:
        there, which = ", ".join(sorted(names)), _matches(subject)[0]
        raise UsageError(f"no pool {pool!r}; there are: {there}; if it was removed: journalctl {which}")


def refuse_silent(worker: str) -> None:
    """Raise UsageError for a worker without a line in the journal that this user may read."""
    ask = ["journalctl", "--quiet", "--lines=1", "--output=cat", *_matches(worker)]
    done = subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if not done.returncode and not done.stdout:
        reading = "; to read the journal of others takes root or group systemd-journal" if os.geteuid() else ""
        raise UsageError(f"cannot find a line of {worker} in the journal; trapctl status has the workers{reading}")


def show(settings: Settings, subject: str | None, wish: Wish) -> NoReturn:
    """Become the program that shows the lines. Raises UsageError if there are none, RefusedError if the backend cannot
    select them in this way."""
    if resolve_backend(settings) == "systemd":
        if subject:
            refuse_unknown(subject, settings)
            if "@" in subject:
                refuse_silent(subject)
        command = journal_command(subject, wish)
    else:
        if wish.since or wish.until or wish.priority or wish.as_json:
            message = "cannot use --since, --until, --priority or --json here: the embedded backend keeps plain files"
            raise RefusedError(message)
        logs = State(settings.state_directory).logs
        files = log_files(logs, subject)
        if not files:
            raise UsageError(f"no logs of {subject or 'any worker'} in {logs}")
        command = file_command(files, follow=wish.follow, lines=LINES if wish.lines is None else wish.lines)
    if wish.lines is None and wish.count is not None and sys.stderr.isatty():
        print(f"trapctl: the last {LINES} lines; -n N shows more", file=sys.stderr)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise RefusedError(f"cannot run {command[0]}: {error.strerror}") from error
