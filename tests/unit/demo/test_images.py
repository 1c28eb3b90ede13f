"""The series that the demonstration makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import images
from trapd.distribute import sky


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[images.Image]:
    return images.make(tmp_path_factory.mktemp("series"))


def test_the_transient_comes_and_goes(series: list[images.Image]) -> None:
    assert [one.transient for one in series] == [4 <= number <= 7 for number in range(12)]
    assert {(one.sources, one.transient) for one in series} == {(8, False), (9, True)}


def test_each_image_is_one_file_with_its_own_time(series: list[images.Image]) -> None:
    headers = [Path(one.path).read_bytes()[:2880] for one in series]
    assert len(set(headers)) == len(series)
    assert b"2026-01-01T20:22:00.0" in headers[-1]


def test_sources_lie_apart_and_inside_so_that_each_is_found() -> None:
    every = [*images.FIELD, sky.Source(*images.WHERE, max(images.LIGHT_CURVE))]
    for number, one in enumerate(every):
        assert 30 < one.x < images.SIZE - 30
        assert 30 < one.y < images.SIZE - 30
        assert one.peak >= 25 * images.RMS
        for other in every[:number]:
            assert max(abs(one.x - other.x), abs(one.y - other.y)) > 5 * sky.BEAM


def test_the_transient_is_recognised_by_its_place() -> None:
    ra, dec = sky.Source(*images.WHERE, 0).position(images.SIZE)
    elsewhere = [dict(zip(("ra", "dec"), source.position(images.SIZE), strict=True)) for source in images.FIELD]
    assert images.shows_transient([*elsewhere, {"ra": ra + 1e-4, "dec": dec}])
    assert not images.shows_transient(elsewhere)


def test_the_users_images_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert images.own(["a.fits", "/b.fits"]) == [images.Image(str(tmp_path / "a.fits")), images.Image("/b.fits")]
