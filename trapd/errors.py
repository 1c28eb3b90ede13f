"""What can go wrong, as far as a caller acts on it."""

from __future__ import annotations


class TrapdError(Exception):
    """Root of trapd's own errors. Messages say what, why and what to do: "cannot drain default@7-1: ..."."""


class SettingsError(TrapdError):
    """The configuration cannot be used. Exit 78."""

    def __init__(
        self, message: str, *, file: str = "", key: str = "", line: int | None = None, remedy: str = ""
    ) -> None:
        self.message, self.file, self.key, self.line, self.remedy = message, file, key, line, remedy
        where = f"{file}:{line}" if line else file
        super().__init__(": ".join(part for part in (where, key, message) if part) + (f"; {remedy}" if remedy else ""))


class RefusedError(TrapdError):
    """A command that cannot be done as things stand (nothing to undo, trapd stops). Exit 1."""


class UsageError(RefusedError):
    """A command whose words fit nothing: no such pool, worker or rollout, or not a number. Exit 2; `status`: 4."""


class NotPermittedError(TrapdError):
    """The caller may not do this. Exit 4."""


class SnapshotError(TrapdError):
    """The files changed under the copy, or could not be copied; the disk has to settle again first."""


class BackendError(TrapdError):
    """An instance could not be started, drained or killed; the next pass looks again."""


class HistoryError(TrapdError):
    """What is wanted, or what happened, cannot be remembered or read: the disk is full, the file is damaged, ..."""
