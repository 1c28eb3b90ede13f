"""Images made without numpy or astropy."""

from __future__ import annotations

import math
import statistics
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trapd.distribute import sky

TAKEN = datetime(2026, 1, 1, 20, tzinfo=UTC)


def test_a_file_is_made_of_whole_fits_blocks_and_cards(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    sky.write(path, sky.noise(32, 1.0, seed=1), 32, TAKEN)
    content = path.read_bytes()
    assert len(content) == 2880 + 2 * 2880  # a block of header, and 32 * 32 * 4 bytes in two of data
    cards = [content[at : at + 80].decode("ascii") for at in range(0, 2880, 80)]
    assert cards[0] == "SIMPLE  =                    T".ljust(80)
    assert "NAXIS1  =                   32".ljust(80) in cards
    assert "DATE-OBS= '2026-01-01T20:00:00.0'".ljust(80) in cards
    assert "CDELT1  = -2.7777777777778E-03".ljust(80) in cards
    assert "END".ljust(80) in cards


def test_pixels_are_big_endian_floats_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    sky.write(path, [1.0, 2.0, 3.0, 4.0], 2, TAKEN)
    assert struct.unpack(">4f", path.read_bytes()[2880:2896]) == (1.0, 2.0, 3.0, 4.0)


def test_one_seed_is_one_image() -> None:
    assert sky.noise(16, 1.0, seed=1) == sky.noise(16, 1.0, seed=1) != sky.noise(16, 1.0, seed=2)


def test_the_noise_is_as_asked_and_grows_across_the_image() -> None:
    size = 100
    pixels = sky.noise(size, 2.0, seed=3)
    assert statistics.pstdev(pixels) == pytest.approx(2.0, rel=0.05)
    left, right = (
        [pixels[y * size + x] for y in range(size) for x in columns] for columns in (range(20), range(80, 100))
    )
    assert statistics.pstdev(right) / statistics.pstdev(left) == pytest.approx(1.16 / 0.84, rel=0.1)


def test_a_source_is_a_gaussian_of_the_beam_at_its_place() -> None:
    size = 33
    pixels = sky.draw(size, [sky.Source(10, 20, 5.0)], 0.0, seed=1)
    assert pixels[20 * size + 10] == pytest.approx(5.0)
    assert pixels[20 * size + 12] == pixels[22 * size + 10] == pytest.approx(2.5)  # half a beam away: half maximum
    assert pixels[0] == 0.0


def test_the_centre_is_the_fields_position() -> None:
    assert sky.Source(50, 50, 1).position(100) == pytest.approx(sky.CENTRE)


def test_north_is_up_and_east_is_left() -> None:
    ra, dec = sky.CENTRE
    assert sky.Source(50, 60, 1).position(100) == pytest.approx((ra, dec + 10 * sky.CELL), abs=1e-6)
    east = sky.Source(40, 50, 1).position(100)
    assert east[0] == pytest.approx(ra + 10 * sky.CELL / math.cos(math.radians(dec)), rel=1e-6)
