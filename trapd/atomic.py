"""Replace a file in one step: a reader finds the old content or the new content, after a power cut too.

All parts of trapd, workers included, replace files with this module: it travels with each generation. There are three
exceptions: a generation (a folder that is renamed), an account (a file that is locked before it gets its name) and
links. For them, and for files that grow, there is ``write_all``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

UNFINISHED = ".new"  # the end of the name of a file that a killed process did not finish; the name begins with a dot


def write(path: Path, content: str | bytes | Iterable[bytes], *, mode: int | None = None, lasting: bool = True) -> None:
    """Replace ``path`` by this content; text is written as UTF-8, and a large one may come in parts.

    Raises OSError; then nothing has changed, and nothing is left beside it.

    ``mode``: its permissions, by default as the umask has it. ``lasting``: return only when content and name are on the
    disk. If it is false, a power cut may leave an empty file under the new name (rename(2) orders nothing), so use that
    only for files that no reboot survives.
    """
    fresh = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        with fresh.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.writelines([content.encode()] if isinstance(content, str) else _parts(content))
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if lasting:
        sync_folder(path.parent)


def _parts(content: bytes | Iterable[bytes]) -> Iterable[bytes]:
    return [content] if isinstance(content, bytes) else content


def write_all(file: int, data: bytes) -> None:
    """Write all of it at a descriptor's place: write(2) takes a part where a pipe or a file system becomes full, and
    says so the next time. Raises OSError."""
    while data:
        data = data[os.write(file, data) :]


def sync_folder(folder: Path) -> None:
    """Return when the names in ``folder`` are on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
