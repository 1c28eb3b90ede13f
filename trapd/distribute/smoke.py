"""A smoke test for new versions of Trap: ``smoke_test = "trapd.distribute.smoke:known_source"`` in trapd.toml.

A worker calls it before it sends READY, so a Trap that imports but cannot extract sources is rejected before it gets a
task. The smoke test also makes numba compile what an extraction needs (1.2 s) before Celery's prefork pool forks;
otherwise each child would need that time for its first image.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from trapd.distribute import sky

SIZE = 128  # pixels
SOURCE = sky.Source(70.0, 58.0, 1.0)
RMS = 0.01
TAKEN = datetime(2026, 1, 1, tzinfo=UTC)


def known_source() -> None:
    """Make an image with one source and let Trap extract it. Raises RuntimeError if Trap finds anything else."""
    from trapd.distribute import extraction  # imports Trap

    with tempfile.TemporaryDirectory(prefix="trapd-smoke-") as directory:
        path = Path(directory) / "known-source.fits"
        sky.write(path, sky.draw(SIZE, [SOURCE], RMS, seed=1), SIZE, TAKEN)
        sources = extraction.extract(str(path))["sources"]
    if not is_known(sources):
        raise RuntimeError(f"cannot trust trap {extraction.VERSION}: expected {expected()}, extracted {sources}")


def is_known(sources: list[dict[str, float]]) -> bool:
    """Whether there is one source, at the known place within a tenth of a beam, with the known flux within 10 %."""
    if len(sources) != 1:
        return False
    ra, dec = SOURCE.position(SIZE)
    near = max(abs(sources[0]["ra"] - ra), abs(sources[0]["dec"] - dec)) < 0.1 * sky.BEAM * sky.CELL
    return near and abs(sources[0]["peak_flux"] / SOURCE.peak - 1) < 0.1


def expected() -> str:
    ra, dec = SOURCE.position(SIZE)
    return f"one source of {SOURCE.peak} Jy/beam at {ra:.4f} {dec:.4f}"
