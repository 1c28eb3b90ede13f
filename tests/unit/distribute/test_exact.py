"""Tables and numbers through JSON come back with the same bits and the same types. With the real numpy, pandas and
astropy, which pip puts into a folder the first time."""

from __future__ import annotations

import datetime
import importlib
import json
import math
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support import environments
from trapd.distribute import sky

NEEDED = ("numpy==2.2.6", "pandas", "astropy")  # as Trap 1.4.0 has them: numba 0.61 forbids a newer numpy


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    kept = Path(sys.prefix, "beside")  # in the environment of the tests, and removed with it
    kept.mkdir(exist_ok=True)
    folder = environments.tool(kept, "--no-compile", *NEEDED)
    monkeypatch.syspath_prepend(
        folder
    )  # only during the test: others have stand-ins for astropy, and look for versions
    return importlib.import_module("trapd.distribute.exact")


def through_json(value: Any) -> Any:
    """Celery's serializer: what other programs read has no NaN in it."""
    return json.loads(json.dumps(value, allow_nan=False))


COLUMNS = {
    "float64": [1.5, math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1],
    "float32": [1.5, math.nan, math.inf, -math.inf, -0.0, 1e-45, 0.1],
    ">f4": [1.5, math.nan, math.inf, -math.inf, -0.0, 1e-45, 0.1],  # as FITS has it
    "int64": [-(2**63), 2**63 - 1, 0, 1, 2, 3, 4],
    "uint8": [0, 255, 1, 2, 3, 4, 5],
    "bool": [True, False, True, True, False, False, True],
    "datetime64[us]": [f"2026-01-01T20:0{number}:00.123456" for number in range(7)],
    "datetime64[ns]": [f"2026-01-01T20:0{number}:00.123456789" for number in range(7)],
    "timedelta64[s]": [*range(7)],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_has_the_same_bits_and_the_same_type(exact: ModuleType, kind: str) -> None:
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]
    values = numpy.array(COLUMNS[kind], dtype=kind)
    again = exact.frame(through_json(exact.table(pandas.DataFrame({"a": values}))))
    assert (again.a.dtype, again.a.values.tobytes()) == (values.dtype, values.tobytes())
    again.loc[0, "a"] = again.loc[1, "a"]  # Trap writes into its tables
    assert again.a.values[0].tobytes() == values[1].tobytes()


def test_a_nan_keeps_its_payload(exact: ModuleType) -> None:
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]
    values = numpy.array([0x7FF8_0000_0000_BEEF], dtype="uint64").view("float64")
    again = exact.frame(through_json(exact.table(pandas.DataFrame({"a": values})))).a.values
    assert again.tobytes() == values.tobytes()


def test_a_table_keeps_its_index_its_names_and_their_order(exact: ModuleType) -> None:
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]
    both = numpy.arange(8.0).reshape(4, 2)
    index = pandas.Index(numpy.array([7, 3, 3, -1], dtype="int32"), name="source")
    given = pandas.DataFrame({"z": both[:, 1], "a": both[:, 0], "m": numpy.zeros(4, "float32")}, index=index)
    again = exact.frame(through_json(exact.table(given)))
    pandas.testing.assert_frame_equal(again, given, check_exact=True, check_index_type="exact")
    assert [*again.columns] == ["z", "a", "m"]


@pytest.mark.parametrize("columns", [[], ["ra", "dec"]], ids=["no columns", "no rows"])
def test_a_table_without_sources_keeps_its_columns(exact: ModuleType, columns: list[str]) -> None:
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]
    given = pandas.DataFrame({name: numpy.array([], "float32") for name in columns})
    again = exact.frame(through_json(exact.table(given)))
    assert ([*again.columns], [*again.dtypes], len(again)) == (columns, [*given.dtypes], 0)


def test_a_column_of_objects_keeps_each_of_them(exact: ModuleType) -> None:
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]
    taken = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
    values = numpy.empty(7, dtype=object)
    values[:] = ["word", None, math.inf, taken, numpy.float32(0.1), numpy.int16(-3), 7]
    again = exact.frame(through_json(exact.table(pandas.DataFrame({"a": values})))).a.tolist()
    assert again == [*values]
    assert [type(value) for value in again] == [type(value) for value in values]


def test_words_stay_words(exact: ModuleType) -> None:
    pandas = sys.modules["pandas"]
    given = pandas.DataFrame({"a": ["x", "ü", ""]})
    again = exact.frame(through_json(exact.table(given)))
    pandas.testing.assert_frame_equal(again, given)


def test_scalars_keep_their_types_and_their_order(exact: ModuleType) -> None:
    numpy = sys.modules["numpy"]
    given = {
        "rms": numpy.float32(0.001),
        "freq_eff": 1.5e8,
        "taustart_ts": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901),
        "nan": math.nan,
        "numpy's nan": numpy.float64("nan"),
        "rejected": numpy.bool_(True),
        "url": "/data/a.fits",
        "none": None,
        "number": 3,
        "flag": False,
    }
    again = exact.originals(through_json(exact.scalars(given)))
    assert [*again] == [*given]
    assert [type(value) for value in again.values()] == [type(value) for value in given.values()]
    assert math.isnan(again["nan"])
    assert math.isnan(again["numpy's nan"])
    different = {name for name in given if again[name] != given[name]}
    assert different == {"nan", "numpy's nan"}, "nothing else differs from itself"


def test_the_coordinates_of_an_image_are_the_same_to_a_millionth_of_a_pixel(exact: ModuleType, tmp_path: Path) -> None:
    sky.write(
        tmp_path / "a.fits", sky.draw(16, [], 0.001, seed=1), 16, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    )
    fits, wcs = importlib.import_module("astropy.io.fits"), importlib.import_module("astropy.wcs")
    with fits.open(tmp_path / "a.fits") as file, warnings.catch_warnings(action="ignore"):  # of the time of observation
        original = wcs.WCS(file[0].header)
    image = SimpleNamespace(wcs=SimpleNamespace(wcs=original))  # of radio-pyse
    again = exact.coordinates(through_json(exact.header(image)))
    places = exact.array([[180.0, 52.0], [180.1, 52.02], [179.3, 51.1]])
    assert exact.positions(original.wcs_world2pix(places, 0)) == [
        pytest.approx(position, abs=1e-6) for position in exact.positions(again.wcs_world2pix(places, 0))
    ]
    assert again.wcs.radesys == original.wcs.radesys


def test_positions_are_the_same_numbers(exact: ModuleType) -> None:
    given = exact.array([[0.1, 52.000000000000014], [359.99999999999994, -90.0]])
    again = exact.array(through_json(exact.positions(given)))
    assert (again.dtype, again.tobytes()) == (given.dtype, given.tobytes())


def test_the_time_of_a_header_keeps_its_microseconds(exact: ModuleType) -> None:
    found = exact.timestamp("2026-01-02T03:04:05.678901")
    assert (type(found), found) == (datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, 678901))
    with pytest.raises(ValueError, match="no time"):
        exact.timestamp("no time")


def test_no_fits_have_the_columns_of_fits(exact: ModuleType) -> None:
    assert [*exact.no_fits(["ra", "dec"]).columns] == ["ra", "dec"]
    assert len(exact.no_fits(["ra", "dec"])) == 0


def test_a_source_takes_193_bytes_of_an_answer(exact: ModuleType) -> None:
    """As docs/adr/0043-a-run-keeps-its-answers.md says. Trap's table has 17 numbers, whether the fit was Gaussian, and
    the index; as numbers of JSON they would take twice as much."""
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]
    columns = {f"column_{number}": numpy.random.default_rng(number).random(1000) for number in range(17)}
    frame = pandas.DataFrame({**columns, "gaussian": numpy.ones(1000, "bool")})
    assert 190 < (len(json.dumps(exact.table(frame))) - len(json.dumps(exact.table(frame[:0])))) / 1000 < 195
