"""A series of radio images of one field: eight steady sources and a transient that appears in some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trapd.distribute import sky

SIZE = 256  # pixels
RMS = 0.001  # Jy/beam; every source is brighter than 25 times that, Trap's threshold is 8 to 10
FIELD = (
    sky.Source(40.2, 52.7, 0.210),
    sky.Source(88.5, 190.1, 0.045),
    sky.Source(120.9, 101.4, 0.120),
    sky.Source(131.0, 220.3, 0.080),
    sky.Source(170.6, 40.8, 0.300),
    sky.Source(201.3, 150.5, 0.060),
    sky.Source(215.8, 214.2, 0.150),
    sky.Source(60.4, 130.0, 0.035),
)
WHERE = (160.2, 165.9)  # the transient's pixel
LIGHT_CURVE = (0.0, 0.0, 0.0, 0.0, 0.040, 0.180, 0.090, 0.030, 0.0, 0.0, 0.0, 0.0)  # Jy/beam; one image each
START, CADENCE = datetime(2026, 1, 1, 20, tzinfo=UTC), timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the run. ``sources`` None: the user's own image, whose sources are not known."""

    path: str
    sources: int | None = None
    transient: bool = False


def make(directory: Path) -> list[Image]:
    """Write the whole series."""
    directory.mkdir(parents=True, exist_ok=True)
    images = []
    for number, peak in enumerate(LIGHT_CURVE):
        sources = (*FIELD, sky.Source(*WHERE, peak)) if peak else FIELD
        path = directory / f"field-{number + 1:02}.fits"
        sky.write(path, sky.draw(SIZE, sources, RMS, seed=number), SIZE, START + number * CADENCE)
        images.append(Image(str(path), len(sources), bool(peak)))
    return images


def shows_transient(sources: Iterable[dict[str, float]]) -> bool:
    """Whether one of these extracted sources lies where the transient was put, within half a beam."""
    ra, dec = sky.Source(*WHERE, 0).position(SIZE)
    near = sky.BEAM * sky.CELL / 2
    return any(abs(source["ra"] - ra) < near and abs(source["dec"] - dec) < near for source in sources)


def own(paths: Sequence[str]) -> list[Image]:
    """The user's images."""
    return [Image(str(Path(path).absolute())) for path in paths]
