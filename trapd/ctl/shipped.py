"""The files of an installation: units and users (trapd/units/layout.py), man pages, the documents that units cite,
completions, and the commands.

The package and `trapctl install` have the same files; only the folders differ.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import trapd
from trapd.errors import RefusedError
from trapd.units import layout
from trapd.units.layout import Placed

# kind of file -> folder
PACKAGE: Mapping[str, Path] = {
    **layout.PACKAGE,
    "bin": Path("/usr/bin"),
    "man": Path("/usr/share/man"),
    "bash": Path("/usr/share/bash-completion/completions"),
    "zsh": Path("/usr/share/zsh/vendor-completions"),
    "fish": Path("/usr/share/fish/vendor_completions.d"),
}
LOCAL: Mapping[str, Path] = {
    **layout.LOCAL,
    "bin": Path("/usr/local/bin"),
    "man": Path("/usr/local/share/man"),
    "bash": Path("/usr/local/share/bash-completion/completions"),
    "zsh": Path("/usr/local/share/zsh/site-functions"),
    "fish": Path("/usr/local/share/fish/vendor_completions.d"),
}

PAGES = ("trapd.8", "trapctl.1", "trapd.toml.5")
DOCUMENTS = ("systemd.md",)  # documents that the units cite, beside the man pages
COMMANDS = ("trapd", "trapctl")  # trapd-worker is for units, which call it by its path
COMPLETIONS: Mapping[str, str] = {"bash": "trapctl", "zsh": "_trapctl", "fish": "trapctl.fish"}  # shell -> file
_PATIENCE = 30.0  # s in which trapctl has to write a shell's completion; it takes 0.2


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link as it is to be made."""

    path: Path
    target: Path


def source() -> Path:
    """Return the folder that holds ``systemd``, ``etc`` and ``docs``: beside the installed package, or a checkout."""
    installed, checkout = Path(sysconfig.get_path("data"), "share/trapd"), Path(trapd.__file__).parents[1]
    for folder in (installed, checkout):
        if (folder / "systemd/trapd.service").is_file():
            return folder
    raise RefusedError(f"cannot find trapd's units in {installed}; install trapd again, with pip")


def files(source: Path, bindir: Path, folders: Mapping[str, Path]) -> Iterator[Placed]:
    """Yield every file but the configuration. ``bindir`` holds trapd's commands. Raises OSError, RefusedError."""
    yield from layout.placed(source / "systemd", bindir, folders)
    for page in PAGES:
        section = page.rpartition(".")[2]
        yield Placed(folders["man"] / f"man{section}" / page, (source / "docs/man" / page).read_text("utf-8"), 0o644)
    for name in DOCUMENTS:
        yield Placed(folders["doc"] / name, (source / "docs" / name).read_text("utf-8"), 0o644)
    for shell, name in COMPLETIONS.items():
        yield Placed(folders[shell] / name, completion(bindir / "trapctl", shell), 0o644)


def links(bindir: Path, folders: Mapping[str, Path]) -> Iterator[Link]:
    """Yield links to trapd's commands, in the folder where shells look for commands."""
    for name in COMMANDS:
        yield Link(folders["bin"] / name, bindir / name)


def completion(trapctl: Path, shell: str) -> str:
    """Return the script that completes trapctl's words in ``shell``, as click writes it. Raises RefusedError."""
    try:
        done = subprocess.run(
            [trapctl],
            env={"PATH": os.defpath, "_TRAPCTL_COMPLETE": f"{shell}_source"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"cannot run {trapctl}: {error}; install trapd again, with pip") from None
    if done.returncode or "trapctl" not in done.stdout:
        raise RefusedError(f"cannot write the completion for {shell}: {done.stderr.strip() or 'no output'}")
    return done.stdout
