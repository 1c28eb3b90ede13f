"""The rest of a stand-in for Trap: its command line, its main line and its database, without pandas or dask.

Its images are those of tests/support/fake_trap.py. A missing source is measured by a forced fit where the name of the
image ends with "_fit". An image whose first word is "headless" has a header that nobody can read.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import fake_trap

_FILES = {
    "trap/cli.py": """
import argparse
import os
import sqlite3


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", "--input_images", action="append")
    for name in ("--db_name", "--db_backend", "--db_password", "--db_user", "--db_host", "--db_port"):
        parser.add_argument(name)
    parser.add_argument("--margin", type=int, default=0)
    parser.add_argument("--at_once", type=int, default=50)
    for name in ("--db_overwrite", "--version", "--pyse_version"):
        parser.add_argument(name, action="store_true", default=None)
    return vars(parser.parse_args())


def run_batch(params=None):
    from trap import run
    from trap.io import find_fits

    params = params or parse_arguments()
    if params["version"]:
        print("TraP version")
        raise SystemExit(0)
    if params["input_images"] is None:
        raise Exception("No images were specified")
    paths = sorted({path for place in params["input_images"] for path in find_fits(os.path.abspath(place))})
    if os.path.exists(params["db_name"]):
        raise Exception("already exists")
    for path in paths:
        with run.fits.open(str(path)):
            pass
    with sqlite3.connect(params["db_name"]) as connection:
        connection.execute("create table config (db_name, margin)")
        connection.execute("insert into config values (?, ?)", (params["db_name"], params["margin"]))
    connection.close()
    kwargs = {"db_backend": "sqlite", "db_name": params["db_name"]}
    config = {"margin": params["margin"]}
    at_once = params["at_once"]
    run.main(paths, db_kwargs=kwargs, freq_bands=run.Bands(), max_concurrent_images=at_once, pyse_config=config)
""",
    "trap/io.py": """
from pathlib import Path


def find_fits(place):
    place = Path(place)
    if not place.exists():
        raise ValueError(f"Cannot interpret supplied path as directory or file: {place}. Does this location exist?")
    return sorted(place.glob("*.fits")) if place.is_dir() else [place]
""",
    "trap/frequency_bands.py": """
class FrequencyBands:
    @staticmethod
    def parse_frequency(header, path):
        return header["RESTFRQ"], 1.0

    def get_frequency_band(self, frequency, width):
        return 4
""",
    "trap/run.py": """
import sqlite3

import dask
from astropy.io import fits
from trap.frequency_bands import FrequencyBands as Bands
from trap.source_extraction import force_fit, read_pyse_image, sources_from_fits_pyse


def main(image_paths, db_kwargs, freq_bands, max_concurrent_images, pyse_config):
    def one(path):
        image, meta, rejected = read_pyse_image(str(path), freq_bands, **pyse_config)
        sources = sources_from_fits_pyse(image, rejected=rejected)
        fits = force_fit(image, positions=[[1.0, 2.0]]) if "_fit." in str(path) else None
        return meta, sources, fits

    number = max_concurrent_images
    pool = dask.config.pool
    with sqlite3.connect(db_kwargs["db_name"]) as connection:
        connection.execute("create table images (id, band, rejected, rms)")
        connection.execute("create table extracted_sources (im_id, flux, forced)")
        for number, (meta, sources, fits) in enumerate(pool.map(one, image_paths)):
            row = (number, meta["freq_band"], int(meta.get("rejected", 0)), meta["rms"])
            connection.execute("insert into images values (?, ?, ?, ?)", row)
            rows = [(number, source["peak_flux"], 0) for source in sources.to_dict("records")]
            rows += [(number, source["peak_flux"], 1) for source in (fits[0].to_dict("records") if fits else [])]
            connection.executemany("insert into extracted_sources values (?, ?, ?)", rows)
    connection.close()
""",
    "dask/__init__.py": """
import contextlib


class config:
    pool = None

    @classmethod
    @contextlib.contextmanager
    def set(cls, scheduler, pool):
        cls.pool = pool
        yield
""",
    "astropy/__init__.py": "",
    "astropy/io/__init__.py": "",
    "astropy/io/fits.py": """
import contextlib
from types import SimpleNamespace


@contextlib.contextmanager
def open(path):
    with __builtins__["open"](path) as file:
        if file.read().startswith("headless"):
            raise OSError("No SIMPLE card found")
    yield [SimpleNamespace(header={"RESTFRQ": 5, "DATE-OBS": "2026-01-02"})]
""",
}


def write(directory: Path, version: str) -> Path:
    """Install it under ``directory``, which belongs on the import path."""
    fake_trap.write(directory, version)
    for name, text in _FILES.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory


# Where nobody can put fake_exact into sys.modules: Python itself runs the line of the path file at its start.
_EXACT = """
import importlib.util
import sys
from pathlib import Path


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        file = Path(__file__).with_name("trap_exact.py")
        return importlib.util.spec_from_file_location(name, file) if name == "trapd.distribute.exact" else None


sys.meta_path.insert(0, Finder)
"""


def in_a_wheel() -> dict[str, str]:
    """The files of a wheel, for an environment without numpy: trapd's workers and runs find what they need of it."""
    exact = Path(__file__).with_name("fake_exact.py").read_text()
    hook = {"trap_hook.py": _EXACT, "trap_hook.pth": "import trap_hook\n", "trap_exact.py": exact}
    return {"trap/__init__.py": "", "trap/source_extraction.py": fake_trap.SOURCE_EXTRACTION, **_FILES, **hook}
