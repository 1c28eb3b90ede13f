"""trapd's own errors: each is a class because a caller acts on it."""

from __future__ import annotations


class TrapdError(Exception):
    """The root of trapd's own errors. Messages have the form "cannot VERB OBJECT: REASON; REMEDY"."""


class SettingsError(TrapdError):
    """The configuration cannot be used. Exit status 78."""

    def __init__(
        self, message: str, *, file: str = "", key: str = "", line: int | None = None, remedy: str = ""
    ) -> None:
        self.message, self.file, self.key, self.line, self.remedy = message, file, key, line, remedy
        where = f"{file}:{line}" if line else file
        super().__init__(": ".join(part for part in (where, key, message) if part) + (f"; {remedy}" if remedy else ""))


class RefusedError(TrapdError):
    """A command that cannot be carried out now (nothing to undo, trapd is stopping). Exit status 1."""


class UsageError(RefusedError):
    """A command that names nothing that exists: no such pool, worker or rollout, or not a number. Exit status 2;
    `status`: 4."""


class NotPermittedError(TrapdError):
    """The caller may not do this. Exit status 4."""


class SnapshotError(TrapdError):
    """The files changed under the copy, or could not be copied; the disk has to settle again first."""


class BackendError(TrapdError):
    """An instance could not be started, drained or killed; the next pass looks again."""


class HistoryError(TrapdError):
    """The history cannot be written or read: the disk is full, the file is damaged, ..."""
