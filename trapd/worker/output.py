"""What a worker prints goes to a file, and a file has no room where a disk is full: then it is lost, and that is all.

Python raises OSError for it, in whatever prints next: in our own first line, in Celery's log, in a module that the
application imports, or when the interpreter flushes at its end and exits with 120. A worker that crashed on a full disk
would not be back, and good code would be rejected. Standard library only.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Forgiving(io.FileIO):
    """A file whose writes never fail."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Returns how many bytes need not be written any more; all of them, where they cannot be."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def forgive() -> None:
    """From now on nothing that is printed raises OSError for want of room. What is no file keeps its stream."""
    for name in ("stdout", "stderr"):
        stream = _forgiving(getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _forgiving(stream: TextIO | None) -> TextIO | None:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        number = stream.fileno()
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
    except (OSError, ValueError):
        return stream
    if not is_file:
        return stream
    file = Forgiving(number, "w", closefd=False)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)  # PYTHONUNBUFFERED: each print is in the log at once
    return io.TextIOWrapper(
        file if unbuffered else io.BufferedWriter(file),  # as Python itself does
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
