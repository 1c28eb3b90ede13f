"""A stand-in for Trap, to be put on an import path: its "images" are text files, and importing it takes no time.

A file holds one peak flux per line, in Jy; ``nan`` is one. A file that begins with ``!`` makes it raise what follows.
"""

from __future__ import annotations

from pathlib import Path

SOURCE_FINDER = "0.7.0"  # version of radio-pyse
_SOURCE_EXTRACTION = '''
import datetime
import os


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
    return text.split(), meta, rejected.item()


def sources_from_fits_pyse(image, rejected):
    return Table([] if rejected else [{"ra": Number(10.0), "peak_flux": Number(float(one))} for one in image])
'''


def write(directory: Path, version: str) -> Path:
    """Install it under ``directory``, which belongs on the import path, with the metadata of its source finder."""
    package, metadata = directory / "trap", directory / f"trap-{version}.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    (package / "source_extraction.py").write_text(_SOURCE_EXTRACTION)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: trap\nVersion: {version}\n")
    finder = directory / f"radio_pyse-{SOURCE_FINDER}.dist-info"
    finder.mkdir()
    (finder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: radio-pyse\nVersion: {SOURCE_FINDER}\n")
    return directory
