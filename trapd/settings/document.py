"""The file itself: whether it can be trusted, its TOML, and the line of each key."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from trapd.access import closed
from trapd.errors import SettingsError

_HEADER = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]")
_ASSIGNMENT = re.compile(r"""\s*([\w.\-"'\s]+?)\s*=""")


@dataclass(frozen=True, slots=True)
class Document:
    """One configuration file that was read; ``refuse`` raises an error about it."""

    file: Path
    text: str
    tables: Mapping[str, Any]

    def refuse(self, key: str, message: str, remedy: str) -> NoReturn:
        """Raise SettingsError for a dotted key."""
        raise SettingsError(message, file=str(self.file), key=key, line=self.line(key), remedy=remedy)

    def line(self, key: str) -> int | None:
        """Return the line of a dotted key, or else of the nearest table around it; None if neither is written."""
        written: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := _HEADER.match(line):
                here = table = _split(header[1])
            elif assignment := _ASSIGNMENT.match(line):
                here = table + _split(assignment[1])
            else:
                continue
            for length in range(
                1, len(here) + 1
            ):  # [pools.gpu] counts as a line of "pools", too, if there is none before
                written.setdefault(here[:length], number)
        parts = _split(key)
        return next((written[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in written), None)


def _split(key: str) -> tuple[str, ...]:
    return tuple(part.strip(" \t\"'") for part in key.split("."))


def folder_named(file: Path, key: str) -> Path | None:
    """Return the folder that a line of a broken file still names; None if no line does, or nobody may read the file."""
    with contextlib.suppress(OSError, ValueError):
        text = file.read_text("utf-8")
        if found := re.search(rf"""^\s*(?:trapd\.)?{key}\s*=\s*["'](/[^"'\n]+)["']""", text, re.MULTILINE):
            return Path(found[1])
    return None


def read(file: Path) -> Document:
    """Read the file. Raises SettingsError if it is missing, unreadable, not to be trusted, or not TOML."""
    text = _text(file)
    try:
        return Document(file, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1  # "at end of document"
        why = re.sub(r" \(at .*\)$", "", str(error))
        message = f"cannot read this as TOML: {why[:1].lower()}{why[1:]}"
        raise SettingsError(message, file=str(file), line=line, remedy="correct this line") from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            trust(file, os.fstat(stream.fileno()))
            return stream.read().decode("utf-8-sig")  # some editors put a mark before it
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError("cannot read this as UTF-8", file=str(file), line=line, remedy="save it as UTF-8") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        remedy = "make it readable, or name another with --config or TRAPD_CONFIG"
        if isinstance(error, PermissionError) and (shut := closed(file)):
            why, remedy = shut.reason, shut.remedy
        raise SettingsError(f"cannot read the configuration: {why}", file=str(file), remedy=remedy) from None


def trust(file: Path, status: os.stat_result) -> None:
    """Raise SettingsError if a user other than root, or than this process's user, can write the file: a user who can
    write the configuration, Celery's too, can run code as trapd and as its workers."""
    mode = stat.S_IMODE(status.st_mode)
    own_groups = {0, os.getegid(), *os.getgroups()}  # a home under umask 002 is writable for one's own group
    if status.st_uid not in (0, os.geteuid()):
        why, remedy = f"it belongs to user {status.st_uid}", f"chown root {file}"
    elif mode & stat.S_IWOTH:
        why, remedy = f"everybody may write it (mode {mode:04o})", f"chmod o-w {file}"
    elif mode & stat.S_IWGRP and status.st_gid not in own_groups:
        why, remedy = f"group {status.st_gid} may write it (mode {mode:04o})", f"chmod g-w {file}"
    else:
        return
    raise SettingsError(f"cannot trust the configuration: {why}", file=str(file), remedy=remedy)
