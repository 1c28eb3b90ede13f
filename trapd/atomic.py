"""A file replaced in one step: whoever reads it finds the old content or the new one, after a power cut too."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str, *, mode: int | None = None, lasting: bool = True) -> None:
    """Replace ``path`` by UTF-8 ``text``. Raises OSError; then nothing has changed, and nothing is left beside it.

    ``mode``: its permissions, by default as the umask has it. ``lasting``: return only when content and name are on the
    disk. Without that a power cut may leave an empty file under the new name (rename(2) orders nothing), so it is for
    files that no reboot survives.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if lasting:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in ``folder`` are on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
