"""Two versions of Trap whose source finders differ, and an image in which each finds another number of sources."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from demo.images import FIELD, RMS, SIZE
from trapd.distribute import sky

# The fit of radio-pyse 0.6.0 takes sources that lie closer to the border than half a beam; that of 0.7.0 drops them.
NEAR_THE_BORDER = (sky.Source(3.3, 100.2, 0.100), sky.Source(100.4, 252.1, 0.200))
SOURCES = {"1.1.1": 7, "1.2.0": 5}
FINDER = {"1.1.1": "0.6.0", "1.2.0": "0.7.0"}


def write_image(path: Path) -> Path:
    """Draw the image, as FITS; its path again."""
    drawn = sky.draw(SIZE, (*FIELD[:5], *NEAR_THE_BORDER), RMS, seed=1)
    sky.write(path, drawn, SIZE, datetime(2026, 1, 1, tzinfo=UTC))
    return path
