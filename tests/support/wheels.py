"""Throw-away wheels, written by hand: no build tool, no network, the same bytes every time.

``pip install --no-index --no-deps <wheel>`` installs them as it installs any other wheel.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: trapd-tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (2020, 1, 1, 0, 0, 0)  # fixed: two wheels of the same content are the same file


def write_wheel(
    directory: Path, name: str, version: str, files: Mapping[str, str], *, requires: Sequence[str] = ()
) -> Path:
    """Write ``<name>-<version>-py3-none-any.whl`` into ``directory`` (made if absent) and return its path.

    ``files`` maps the path inside site-packages ("pkg/__init__.py") to its text; metadata and RECORD are added, and
    top_level.txt is left out, as most modern build tools do. ``requires`` become Requires-Dist lines.
    An existing wheel of that name is replaced.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    content = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": _WHEEL}
    record = io.StringIO(newline="")
    csv.writer(record).writerows([path, *_digest_and_size(text)] for path, text in content.items())
    record.write(f"{info}/RECORD,,\r\n")
    content[f"{info}/RECORD"] = record.getvalue()

    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, _DATE), text.encode())
    return wheel


def _digest_and_size(text: str) -> tuple[str, int]:
    raw = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", len(raw)
