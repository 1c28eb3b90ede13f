"""Which images failed and why, and whether it is the images: if the first ones all fail alike, they are not."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from trapd.distribute.endings import SystemicError

FEW = 3  # images that no worker can see, although the submitter can: no need to try hundreds
WINDOW = 10  # images; fewer may be bad at the begin of a series, and bad images are answered before good ones


class Failures:
    """The images of a run that failed. Use it from any thread."""

    def __init__(self, total: int, in_flight: int) -> None:
        """``total``: images of the run; ``in_flight``: how many are in work at once."""
        self.reasons: dict[str, str] = {}  # image -> why it was rejected
        self.some_succeeded = False  # in this run: a kept answer does not tell what workers can do by now
        self._total, self._window = total, max(WINDOW, in_flight)
        self._lock = threading.Lock()
        self._telling: dict[str, str] = {}  # the reasons that may tell that it is not the images
        self._unseen: set[str] = set()

    def succeeded(self) -> None:
        self.some_succeeded = True

    def failed(self, image: str, reason: str, *, unseen: bool, before: bool = False) -> None:
        """Note a failure. Raises SystemicError if no image succeeded, and enough of them failed in the same way.

        ``unseen``: the worker cannot see a file that the submitter sees. ``before``: the image has failed already when
        others succeeded, so its failure tells nothing new.
        """
        with self._lock:
            self.reasons[image] = reason
            if not before:
                self._telling[image] = reason
                self._unseen |= {image} if unseen else set()
            reasons, unseen_images = dict(self._telling), set(self._unseen)
        if self.some_succeeded or before:
            return
        if len(unseen_images) >= min(FEW, self._total):
            folder = _folder(unseen_images)
            raise SystemicError(
                f"cannot go on: no worker can see {folder}: {reason}; put the images where the workers see them under "
                "the same path"
            )
        if len(reasons) >= min(self._window, self._total) and self._total > 1 and len(_alike(reasons)) == 1:
            raise SystemicError(f"cannot go on: every image fails alike: {reason}")


def _folder(images: set[str]) -> Path:
    """Return the innermost folder that has all of these images."""
    first, *others = (Path(image).parent for image in sorted(images))
    return next(folder for folder in (first, *first.parents) if all(other.is_relative_to(folder) for other in others))


def _alike(reasons: dict[str, str]) -> set[str]:
    """Return the reasons without the names of the images, and without what counts jobs, processes or addresses."""
    return {without_numbers(image, reason) for image, reason in reasons.items()}


def without_numbers(image: str, words: str) -> str:
    """Return what is the same for other images: two killed processes differ in "Job: 17." alone."""
    return re.sub(r"0x[0-9a-f]+|[0-9]+", "N", words.replace(image, "IMAGE"))
