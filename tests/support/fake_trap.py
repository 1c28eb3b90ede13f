"""A stand-in for Trap, to be put on an import path: its "images" are text files, and importing it takes no time.

A file holds one peak flux per line, in Jy; ``nan`` is one. A file that begins with ``!`` makes it raise what follows.
"""

from __future__ import annotations

from pathlib import Path

SOURCE_FINDER = "0.7.0"  # version of radio-pyse
ARITHMETIC = {"numba": "0.61.2", "numpy": "2.2.6"}  # metadata alone
SOURCE_EXTRACTION = '''
import datetime
import logging
import os

PYSE_OUT_COLUMNS_LEGACY = {"ra": "ra", "peak_flux": "peak"}


class Number:
    """As numpy's: not JSON, but with item()."""

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


class Table:
    """As pandas' frame."""

    def __init__(self, rows):
        self.rows = rows

    def to_dict(self, kind):
        assert kind == "records"
        return self.rows


def read_pyse_image(path, **options):
    with open(path) as file:
        text = file.read()
    if text.startswith("!"):
        raise eval(text[1:])
    assert set(options) <= {"margin"}, options
    rejected = Number("rejected" in text)
    layer = os.environ["NUMBA_THREADING_LAYER"]
    meta = {"rms": Number(0.5), "taustart_ts": datetime.datetime(2026, 1, 2), "layer": layer, "freq_band": 0}
    meta |= {"freq_eff": 5, "freq_bw": 1}
    if "warn" in text:
        logging.getLogger("TraP").warning("no bandwidth in %s", path)
    return [word for word in text.split() if word != "warn"], meta, rejected.item()


def sources_from_fits_pyse(image, rejected):
    return Table([] if rejected else [{"ra": Number(10.0), "peak_flux": Number(float(one))} for one in image])


def force_fit(image, positions):
    return Table([{"ra": Number(ra), "peak_flux": Number(0.125)} for ra, dec in positions]), list(range(len(positions)))
'''


def write(directory: Path, version: str) -> Path:
    """Install it under ``directory``, which belongs on the import path, with the metadata of its source finder,
    numba and numpy."""
    package, metadata = directory / "trap", directory / f"trap-{version}.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    (package / "source_extraction.py").write_text(SOURCE_EXTRACTION)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: trap\nVersion: {version}\n")
    for name, its_version in {"radio_pyse": SOURCE_FINDER, **ARITHMETIC}.items():
        about = directory / f"{name}-{its_version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {its_version}\n")
    return directory
