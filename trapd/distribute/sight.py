"""Why this process cannot read a file: the account of workers, and the folders that systemd hides from them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from trapd import mount_table
from trapd.mount_table import Mount

# What systemd mounts over a folder that a unit must not see: the same empty folder for each (ProtectHome=yes), in
# /run/systemd or, in a container, in /run/host (systemd-nspawn 252); a private folder for each unit (PrivateTmp=yes).
_INACCESSIBLE, _PRIVATE = "/inaccessible/dir", "/systemd-private-"
_HOMES = frozenset({Path("/home"), Path("/root")})  # ProtectHome=tmpfs: empty file systems


def hidden(mounts: Iterable[Mount]) -> list[Path]:
    """Return the folders of the machine that this process sees empty, because its unit hides them; without those in
    /run, where nobody keeps data.
    """
    # Of mounts at the same place, the last one is on top.
    folders = {mount.place: _hides(mount) for mount in mounts if not mount.place.is_relative_to("/run")}
    return sorted(folder for folder, hides in folders.items() if hides)


def _hides(mount: Mount) -> bool:
    root = mount.identity[-1]
    return root.endswith(_INACCESSIBLE) or _PRIVATE in root or (mount.kind == "tmpfs" and mount.place in _HOMES)


def reason(path: str, error: OSError) -> str:
    """Return why ``path`` cannot be read, for its submitter, who sees other files than workers do."""
    words = error.strerror or " ".join(str(error).split()) or "no reason given"
    if not isinstance(error, FileNotFoundError | PermissionError):
        return words
    folders = hidden(mount_table.read())
    if any(Path(place).is_relative_to(folder) for folder in folders for place in {path, os.path.realpath(path)}):
        return (
            f"{_listed(folders)} are hidden from workers, which run as user {_user()}; "
            "move the file to a folder that workers can read"
        )
    if isinstance(error, PermissionError):
        return f"{words}; workers run as user {_user()}, let this user read the file and enter its folders"
    return words


def _listed(folders: list[Path]) -> str:
    *others, last = map(str, folders)
    return f"{', '.join(others)} and {last}" if others else last


def _user() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
