"""``trapctl logs``: the words of the workers, and of trapd about them, wherever this backend keeps them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trapd.errors import RefusedError
from trapd.settings import Settings, resolve_backend

LINES = 100  # shown without --since, as `systemctl status` and kubectl's --tail keep it short


def journal_command(subject: str | None, *, follow: bool, since: str | None, as_json: bool) -> list[str]:
    """The journalctl that answers. trapd's lines and the workers' carry the same fields: one match finds both."""
    if subject is None:
        which = ["--unit=trapd.service", "--unit=trapd-worker-*@*.service"]
    else:
        which = [f"INSTANCE={subject}" if "@" in subject else f"POOL={subject}"]
    how_many = [f"--since={since}"] if since else [f"--lines={LINES}"]
    return [
        "journalctl",
        "--no-hostname",
        f"--output={'json' if as_json else 'short-iso'}",
        *(["--follow"] if follow else ["--no-pager"]),
        *how_many,
        *which,
    ]


def file_command(files: Sequence[Path], *, follow: bool) -> list[str]:
    """The tail that shows workers' log files; with ``follow`` it goes on in a file that begins anew."""
    return ["tail", f"--lines={LINES}", *(["--follow=name", "--retry", "--quiet"] if follow else []), *map(str, files)]


def log_files(directory: Path, subject: str | None) -> list[Path]:
    """The log files of a pool, an instance, or all, the oldest first."""
    asked = (f for f in directory.glob("*.log") if subject in (None, f.stem, f.stem.partition("@")[0]))
    return sorted(asked, key=lambda file: file.stat().st_mtime)


def refuse_unknown(subject: str, settings: Settings) -> None:
    """Raises RefusedError: of a misspelt pool the journal has no lines, which is no answer."""
    pool, names = subject.partition("@")[0], [spec.name for spec in settings.pools]
    if pool not in names:
        there, which = ", ".join(sorted(names)), f"{'INSTANCE' if '@' in subject else 'POOL'}={subject}"
        raise RefusedError(f"no pool {pool!r}; there are: {there}; if it was removed: journalctl {which}")


def show(settings: Settings, subject: str | None, *, follow: bool, since: str | None, as_json: bool) -> NoReturn:
    """Become the program that shows them. Raises RefusedError where there is nothing to show, or not in this way."""
    if resolve_backend(settings) == "systemd":
        if subject:
            refuse_unknown(subject, settings)
        command = journal_command(subject, follow=follow, since=since, as_json=as_json)
    else:
        if since or as_json:
            raise RefusedError("cannot use --since or --json here: the embedded backend keeps plain files")
        files = log_files(settings.state_directory / "logs", subject)
        if not files:
            raise RefusedError(f"no logs of {subject or 'any worker'} in {settings.state_directory / 'logs'}")
        command = file_command(files, follow=follow)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise RefusedError(f"cannot run {command[0]}: {error.strerror}") from error
