"""Answers on disk, so that a run that was interrupted goes on where it was.

See docs/adr/0043-a-run-keeps-its-answers.md.

An answer belongs to an image (path, size and time of its last change), to the options of the extraction, and to the
code that gave it. One file for each answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from trapd import atomic
from trapd.distribute import disk
from trapd.distribute.codes import Code
from trapd.distribute.endings import OccupiedError
from trapd.distribute.submit import Request

_LOCK, _PREFERRED = "lock", "code"
_FAILED = ".failed"


class Kept:
    """The answers in one folder, for one run at a time."""

    def __init__(self, folder: Path, own: Code) -> None:
        """Make the folder if it is not there. ``own``: answers of code that does not suit it are not used. Raises
        OccupiedError if another run has the folder, OSError."""
        self.folder, self._own = folder, own
        self.wanted: Code | None = None  # only answers of this code are used
        folder.mkdir(parents=True, exist_ok=True)
        handle = disk.lock(folder / _LOCK)
        if handle is None:
            raise OccupiedError(
                f"cannot use the answers in {folder}: another run uses them; wait for its end, or give another --keep"
            )
        self._lock = handle

    def close(self) -> None:
        os.close(self._lock)

    def name(self, request: Request, image: os.stat_result) -> str:
        """Return the name of the file for the answer to this request; ``image``: the state of its image."""
        about = [request.task, request.args, dict(request.options), image.st_size, image.st_mtime_ns]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:40] + ".json"

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the answer, if there is one of the right code."""
        try:
            answer: dict[str, Any] = json.loads((self.folder / name).read_bytes())
            code = Code.of_answer(answer)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # of a computer that lost its power, say
            return None
        return answer if code.suits(self._own) and self.wanted in (None, code) else None

    def keep(self, name: str, answer: dict[str, Any]) -> None:
        """Raises OSError."""
        # Not fsynced, which costs 10 ms and more: after a power cut the image is extracted again.
        atomic.write(self.folder / name, json.dumps(answer), lasting=False)

    def prefer(self, code: Code) -> None:
        """From the next begin of a run on, only answers of this code are used, if it asks for that. Raises OSError."""
        words = {"versions": dict(code.versions), "digest": code.digest}
        atomic.write(self.folder / _PREFERRED, json.dumps(words), lasting=False)

    def preferred(self) -> Code | None:
        """The code that was preferred last, if it suits this run's own."""
        try:
            code = Code.of_answer(json.loads((self.folder / _PREFERRED).read_bytes()))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return code if code.suits(self._own) else None

    def keep_failure(self, name: str) -> None:
        """Note that there is no answer to keep, although the workers had one for others. Raises OSError."""
        (self.folder / name).with_suffix(_FAILED).touch()

    def has_failed(self, name: str) -> bool:
        """Whether it was noted, now or by an earlier run: it is asked for again, and may well fail again."""
        return (self.folder / name).with_suffix(_FAILED).exists()
