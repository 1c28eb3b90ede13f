"""Make small radio images: Gaussian sources in noise, as FITS files that Trap's accessors can read.

Standard library only: this module needs neither numpy nor astropy. It takes about 0.1 s for 256 x 256 pixels.
"""

from __future__ import annotations

import math
import random
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

CELL = 10.0 / 3600  # degrees per pixel
BEAM = 4.0  # full width at half maximum of the round restoring beam, in pixels
CENTRE = (180.0, 52.0)  # right ascension and declination of the field's centre, in degrees
SLOPE = 0.4  # the noise grows by this fraction from one side to the other: see `noise`

_BLOCK, _CARD = 2880, 80  # bytes, fixed by the FITS standard


@dataclass(frozen=True, slots=True)
class Source:
    """A point source: pixel position, counted from 0, and peak flux in Jy/beam."""

    x: float
    y: float
    peak: float

    def position(self, size: int) -> tuple[float, float]:
        """Return right ascension and declination in degrees, in an image of ``size`` pixels (orthographic)."""
        ra, dec = (math.radians(angle) for angle in CENTRE)
        west, north = (math.radians((value - size / 2) * CELL) for value in (self.x, self.y))
        depth = math.sqrt(1 - west**2 - north**2)
        sine = north * math.cos(dec) + math.sin(dec) * depth
        turn = math.atan2(-west, math.cos(dec) * depth - north * math.sin(dec))
        return math.degrees(ra + turn) % 360, math.degrees(math.asin(sine))


def draw(size: int, sources: Iterable[Source], rms: float, seed: int) -> array[float]:
    """Return the pixels of a square image, row by row, in Jy/beam: ``sources`` in noise of ``rms``. The same ``seed``
    gives the same image."""
    pixels = noise(size, rms, seed)
    sigma = BEAM / math.sqrt(8 * math.log(2))
    reach = math.ceil(5 * sigma)
    for source in sources:
        for y in range(max(0, int(source.y) - reach), min(size, int(source.y) + reach + 1)):
            for x in range(max(0, int(source.x) - reach), min(size, int(source.x) + reach + 1)):
                distance = (x - source.x) ** 2 + (y - source.y) ** 2
                pixels[y * size + x] += source.peak * math.exp(-distance / (2 * sigma**2))
    return pixels


def noise(size: int, rms: float, seed: int) -> array[float]:
    """Return Gaussian noise that grows across the image.

    Trap rejects an image whose noise at the centre is not between the smallest and the largest value of its noise map.
    If the noise were the same everywhere, chance alone would decide that.
    """
    chance = random.Random(seed)
    scale = [rms * (1 + SLOPE * (x / size - 0.5)) for x in range(size)]
    return array("f", (chance.gauss(0, scale[x]) for _ in range(size) for x in range(size)))


def write(path: Path, pixels: Sequence[float], size: int, taken: datetime) -> None:
    """Write one square image, observed at ``taken``, as FITS."""
    data = array("f", pixels)
    if sys.byteorder == "little":
        data.byteswap()
    content = _padded(header(size, taken).encode("ascii"), b" ") + _padded(data.tobytes(), b"\0")
    path.write_bytes(content)


def header(size: int, taken: datetime) -> str:
    """Return the cards that Trap and its source finder need, and no more."""
    ra, dec = CENTRE
    cards: list[tuple[str, bool | int | float | str]] = [
        ("SIMPLE", True),
        ("BITPIX", -32),
        ("NAXIS", 2),
        ("NAXIS1", size),
        ("NAXIS2", size),
        ("BUNIT", "JY/BEAM"),
        ("BMAJ", BEAM * CELL),
        ("BMIN", BEAM * CELL),
        ("BPA", 0.0),
        ("EQUINOX", 2000.0),
        ("RADESYS", "FK5"),
        *(("CTYPE1", "RA---SIN"), ("CRVAL1", ra), ("CRPIX1", size / 2 + 1), ("CDELT1", -CELL), ("CUNIT1", "deg")),
        *(("CTYPE2", "DEC--SIN"), ("CRVAL2", dec), ("CRPIX2", size / 2 + 1), ("CDELT2", CELL), ("CUNIT2", "deg")),
        ("RESTFRQ", 150e6),
        ("RESTBW", 2e6),
        ("DATE-OBS", taken.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.0")),
        ("TIMESYS", "UTC"),
        ("TELESCOP", "MADE-UP"),
        ("ORIGIN", "trapd"),
    ]
    return "".join(_card(key, value) for key, value in cards) + "END".ljust(_CARD)


def _card(key: str, value: bool | int | float | str) -> str:
    match value:
        case bool():
            text = f"{'T' if value else 'F':>20}"
        case str():
            text = f"'{value:<8}'"
        case int():
            text = f"{value:>20}"
        case _:
            text = f"{value:>20.13E}"
    return f"{key:<8}= {text}".ljust(_CARD)


def _padded(content: bytes, filler: bytes) -> bytes:
    return content + filler * (-len(content) % _BLOCK)
