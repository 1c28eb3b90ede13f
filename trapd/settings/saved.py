"""Compare the trapd.toml on the disk with the one in force: after it was saved it is not in force until a reload."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trapd.errors import SettingsError
from trapd.masking import mask
from trapd.settings import Settings, load

_Stamp = tuple[int, int, int]


class Saved:
    """Compares a file with the settings that were read from it. Reads the file again only when its times changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stamp, self._digest = _stamp(settings.file), _digest(settings.file)
        self._read = self._digest  # the content that was judged last
        self._problem = ""

    def problem(self) -> str:
        """Return the difference in a sentence; empty if the file on the disk means the same, apart from comments and
        order."""
        stamp = _stamp(self._settings.file)
        if stamp != self._stamp:
            self._stamp, digest = stamp, _digest(self._settings.file)
            if digest != self._read:
                self._read = digest
                self._problem = "" if digest == self._digest else self._judge()
        return self._problem

    def _judge(self) -> str:
        file = self._settings.file
        try:
            if load(file) == self._settings:
                return ""
        except SettingsError as error:
            return mask(f"{error}; {file} was saved after trapd had read it, and a reload would refuse it")
        return f"{file} was saved after trapd had read it, and is not in force; reload trapd, or send it SIGHUP"


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
