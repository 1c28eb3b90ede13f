"""``trapctl logs``: the lines of the workers, and trapd's about them, wherever this backend keeps them."""

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

LINES = 100  # shown where nothing else is asked for, as `systemctl status` and kubectl's --tail keep it short


@dataclass(frozen=True, slots=True)
class Wish:
    """Which lines, in the words of journalctl, and how they are shown."""

    follow: bool = False
    lines: int | None = None
    priority: str | None = None
    since: str | None = None
    until: str | None = None
    as_json: bool = False

    @property
    def count(self) -> int | None:
        """How many of the last lines; None is all that fit the times."""
        return LINES if self.lines is None and not (self.since or self.until) else self.lines


def journal_command(subject: str | None, wish: Wish) -> list[str]:
    """The journalctl that answers. trapd's lines and the workers' carry the same fields: one match finds both."""
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
    """The tail that shows workers' log files; with ``follow`` it goes on in a file that begins anew."""
    return ["tail", f"--lines={lines}", *(["--follow=name", "--retry", "--quiet"] if follow else []), *map(str, files)]


def log_files(directory: Path, subject: str | None) -> list[Path]:
    """The log files of a pool, an instance, or all, the oldest first."""
    asked = (f for f in directory.glob("*.log") if subject in (None, f.stem, f.stem.partition("@")[0]))
    return sorted(asked, key=lambda file: file.stat().st_mtime)


def refuse_unknown(subject: str, settings: Settings) -> None:
    """Raises UsageError: of a misspelt pool the journal has no lines, which is no answer."""
    pool, names = subject.partition("@")[0], [spec.name for spec in settings.pools]
    if pool not in names:
        there, which = ", ".join(sorted(names)), _matches(subject)[0]
        raise UsageError(f"no pool {pool!r}; there are: {there}; if it was removed: journalctl {which}")


def refuse_silent(worker: str) -> None:
    """Raises UsageError for a worker of which the journal has not one line that we may read."""
    ask = ["journalctl", "--quiet", "--lines=1", "--output=cat", *_matches(worker)]
    done = subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if not done.returncode and not done.stdout:
        reading = "; to read the journal of others takes root or group systemd-journal" if os.geteuid() else ""
        raise UsageError(f"cannot find a line of {worker} in the journal; trapctl status has the workers{reading}")


def show(settings: Settings, subject: str | None, wish: Wish) -> NoReturn:
    """Become the program that shows them. Raises RefusedError where there is nothing to show, or not in this way."""
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
