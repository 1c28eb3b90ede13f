"""The place of each file of ``systemd/`` on a machine, for the package (/usr) and for pip (/usr/local).

The files have placeholders for the places of trapd: @bindir@ (the folder of its console scripts), @libdir@, @docdir@
and @generator@.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trapd import layout
from trapd.units.render import fill

# kind of file -> folder
_USR: Mapping[str, Path] = {
    "units": Path("/usr/lib/systemd/system"),
    "generators": Path("/usr/lib/systemd/system-generators"),
    "sysusers": Path("/usr/lib/sysusers.d"),
    "tmpfiles": Path("/usr/lib/tmpfiles.d"),
    "rules": Path("/usr/share/polkit-1/rules.d"),
    "lib": Path("/usr/lib/trapd"),
    "doc": Path("/usr/share/doc/trapd"),
}
_NEEDRESTART: Mapping[str, Path] = {  # needrestart reads no folder of /usr
    "needrestart": Path("/etc/needrestart/conf.d"),
    "restarts": Path("/etc/needrestart/restart.d"),
}
PACKAGE: Mapping[str, Path] = {**_USR, **_NEEDRESTART}
LOCAL: Mapping[str, Path] = {
    **{kind: Path("/usr/local", folder.relative_to("/usr")) for kind, folder in _USR.items()},
    **_NEEDRESTART,
    "rules": Path("/etc/polkit-1/rules.d"),  # polkit reads no folder of /usr/local
}

_FILES: Mapping[str, tuple[str, int]] = {  # below systemd/ -> kind, mode
    "trapd.service": ("units", 0o644),
    "trapd-boot.service": ("units", 0o644),
    "trapd-shutdown.service": ("units", 0o644),
    "trapd.slice": ("units", 0o644),
    "trapd-workers.slice": ("units", 0o644),
    "trapd-worker@.service.in": ("lib", 0o644),
    "trapd-shutdown": ("lib", 0o644),
    "trapd-stop": ("lib", 0o644),
    "system-generators/trapd-generator": ("generators", 0o755),
    "sysusers.d/trapd.conf": ("sysusers", 0o644),
    "tmpfiles.d/trapd.conf": ("tmpfiles", 0o644),
    "polkit-1/rules.d/50-trapd.rules": ("rules", 0o644),
    "needrestart/conf.d/trapd.conf": ("needrestart", 0o644),
    "needrestart/restart.d/trapd.service": ("restarts", 0o755),
}
GENERATOR = "system-generators/trapd-generator"

# The files that an administrator edits: path, shipped file, owner, mode. The second contains the broker's password.
CONFIGURATION = (
    (layout.CONFIGURATION, "etc/trapd.toml", "root:root", 0o644),
    (layout.CELERYCONFIG, "etc/celeryconfig.py", "root:trapd-worker", 0o640),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A file to install; it belongs to root."""

    path: Path
    text: str
    mode: int


def placed(source: Path, bindir: Path, folders: Mapping[str, Path] = PACKAGE) -> Iterator[Placed]:
    """Yield every file but the configuration. ``source``: the shipped folder ``systemd``. Raises OSError."""
    values = {
        "bindir": str(bindir),
        "libdir": str(folders["lib"]),
        "docdir": str(folders["doc"]),
        "generator": str(folders["generators"] / Path(GENERATOR).name),
    }
    for name, (kind, mode) in _FILES.items():
        text = (source / name).read_text("utf-8")
        yield Placed(folders[kind] / Path(name).name, fill(text, values), mode)
