"""The progress of a wait with ``--json``: only the end is printed."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from trapd.control import documents


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def progress(self, progress: documents.Progress) -> None:
        return None

    def note(self, text: str) -> None:
        return None
