"""Extract the sources of one image with Trap, as plain values that JSON can carry.

Importing this module imports Trap: 15 to 33 s, since numba compiles meanwhile.
"""

from __future__ import annotations

import datetime
import math
import os
import threading
from pathlib import Path
from typing import Any

# Set before Trap imports numba. That import starts the default layer, OpenMP, which then ends every forked child that
# uses it ("fork() called from a process already using GNU OpenMP"): under Celery's prefork pool each task would end its
# process. A value that is set in the environment stays, for instance for a pool of another kind.
os.environ.setdefault("NUMBA_THREADING_LAYER", "forksafe")

from trap import source_extraction
from trap.source_extraction import read_pyse_image, sources_from_fits_pyse

from trapd.distribute import provenance

_NOT_MEASURED = "freq_band"  # Trap's accessors set it to 0, whatever value the image has

VERSIONS = provenance.versions()  # of the code just loaded; a later look on disk may find other versions
DIGEST = provenance.digest(Path(__file__))
VERSION = VERSIONS["trap"]

# The fork-safe layer aborts the process when two threads use it at once, so extractions in a threads pool run one after
# the other.
_turn = threading.Lock()


def extract(path: str, **options: Any) -> dict[str, Any]:
    """Find the sources of the image at ``path``.

    ``options`` go to Trap's ``read_pyse_image``; none: Trap's defaults. Returns ``sources``, each with the names and
    units of Trap's table (``ra``, ``dec`` in degrees, fluxes in Jy), ``rejected`` (Trap's quality check), ``rms`` in
    Jy, and ``meta``. A value that is no number (NaN) is None. Raises Trap's own exception for an image that Trap cannot
    read.
    """
    _look(path)
    with _turn:
        image, meta, rejected = read_pyse_image(path, **options)
        table = sources_from_fits_pyse(image, rejected=rejected)
    return {
        "sources": [plain(source) for source in table.to_dict("records")],
        "rejected": bool(rejected),
        "rms": plain(meta["rms"]),
        "meta": {name: value for name, value in plain(meta).items() if name != _NOT_MEASURED},
    }


def extract_table(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Find the sources of the image at ``path``, exactly as trap-run has them: see trapd.distribute.exact.

    Returns ``table`` (the sources), ``meta`` and ``rejected`` as Trap's functions return them, and ``header``: the
    image's coordinates. Raises Trap's own exception for an image that Trap cannot read.
    """
    from trapd.distribute import exact

    _look(path)
    with _turn:
        image, meta, rejected = read_pyse_image(path, **options)
        table = sources_from_fits_pyse(image, rejected=rejected)
    return {
        "table": exact.table(table),
        "meta": exact.scalars(meta),
        "rejected": bool(rejected),
        "header": exact.header(image),
    }


def fit_positions(path: str, options: dict[str, Any], positions: list[list[float]]) -> dict[str, Any]:
    """Measure the image at these positions (degrees), as trap-run does where it misses a source.

    The image is read again: the extraction was most likely in another process, and to keep images for a fit that may
    not come would cost memory. Returns ``table``, and ``fitted``: the indices of the positions that could be measured.
    """
    from trapd.distribute import exact

    _look(path)
    with _turn:
        image, _, _ = read_pyse_image(path, **options)
        table, fitted = source_extraction.force_fit(image, positions=exact.array(positions))
    return {"table": exact.table(table), "fitted": [int(index) for index in fitted]}


def _look(path: str) -> None:
    """Raise OSError for files that Trap's accessors would report with a misleading error."""
    if Path(path).is_dir():  # a CASA table
        return
    with Path(path).open("rb") as file:
        if not file.read(1):
            raise OSError("the file is empty")


def plain(value: Any) -> Any:
    """Return the same value in types that JSON has."""
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
