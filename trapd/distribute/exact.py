"""Trap's tables and numbers through JSON, exactly: each value comes back with the same bits and the same type.

A column is its numpy type and its bytes in base64; JSON's own numbers would turn float32 into float64 and lose NaN, and
the database of a run would then differ from that of trap-run. Needs numpy, pandas and astropy, so it is imported where
Trap is installed.
"""

from __future__ import annotations

import base64
import datetime
import math
from typing import Any

import numpy as np
import pandas as pd
from astropy.wcs import WCS

_PLAIN_KINDS = "fiubMm"  # floats, integers, booleans, times: bytes without pointers


def table(frame: Any) -> dict[str, Any]:
    """Return a pandas frame as values that JSON has."""
    return {
        "index": _column(frame.index.values),
        "name": frame.index.name,
        "columns": [[str(name), *_column(frame[name].values)] for name in frame.columns],
    }


def frame(table: dict[str, Any]) -> Any:
    """Return the pandas frame that ``table`` was made of."""
    index = pd.Index(_values(*table["index"]), name=table["name"])
    columns = {name: _values(kind, content) for name, kind, content in table["columns"]}
    return pd.DataFrame(columns, index=index, columns=list(columns))


def scalars(values: dict[str, Any]) -> dict[str, Any]:
    """Return a dictionary of numbers, words and times as values that JSON has, in the same order."""
    return {str(name): _scalar(value) for name, value in values.items()}


def originals(values: dict[str, Any]) -> dict[str, Any]:
    """Return the dictionary that ``scalars`` was given."""
    return {name: _original(value) for name, value in values.items()}


def header(image: Any) -> str:
    """Return the coordinates of an image of radio-pyse, as a FITS header."""
    return str(image.wcs.wcs.to_header_string(relax=True))


def coordinates(header: str) -> Any:
    """Return what turns sky positions into pixels of the image with this ``header``."""
    return WCS(header)


def positions(values: Any) -> list[list[float]]:
    return [[float(number) for number in position] for position in np.asarray(values)]


def array(values: Any) -> Any:
    return np.array(values)


def no_fits(columns: list[str]) -> Any:
    """Return the frame of a forced fit that found nothing."""
    return pd.DataFrame({}, columns=columns)


def timestamp(text: str) -> datetime.datetime:
    """Return the time of a FITS header, as the accessors of radio-pyse have it. Raises ValueError."""
    return pd.Timestamp(text).to_pydatetime()  # type: ignore[no-any-return]


def _column(values: Any) -> list[Any]:
    if values.dtype.kind in _PLAIN_KINDS:
        content = np.ascontiguousarray(values).tobytes()
        return [values.dtype.str, base64.b64encode(content).decode("ascii")]
    return ["O", [_scalar(value) for value in values.tolist()]]


def _values(kind: str, content: Any) -> Any:
    if kind == "O":
        values = np.empty(len(content), dtype=object)
        values[:] = [_original(value) for value in content]
        return values
    return np.frombuffer(base64.b64decode(content), dtype=kind).copy()  # a view of bytes would be read-only


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return {"numpy": _column(np.array([value]))}
    if isinstance(value, datetime.datetime):
        return {"time": value.isoformat()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def _original(value: Any) -> Any:
    match value:
        case {"numpy": [kind, content]}:
            return _values(kind, content)[0]
        case {"time": text}:
            return datetime.datetime.fromisoformat(text)
        case {"float": text}:
            return float(text)
        case _:
            return value
