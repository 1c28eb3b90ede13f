"""trapd as installed: a virtual environment of Debian's own Python, made to be shown to a machine at /opt/trapd.

The interpreter that runs the tests may lie where a unit's user cannot go (a home folder), so it is not used. What is
slow (pip, 15 to 30 s) is done once for each content of setup.cfg and kept; the code itself is copied for each session.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import release
from tests.support.environments import alone

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
PLACE = "/opt/trapd"  # the scripts' first lines name it
_DESCRIBES = ("setup.cfg", "pyproject.toml", "README.md")  # what a build needs beside the package

# Runs in a mount namespace of its own, where the folder is seen at the place where it will be used.
_INSTALL = f"""
mount -t tmpfs tmpfs /opt
fresh=$1 place=$2
shift 2
mkdir "$place"
mount --bind "$fresh" "$place"
{PYTHON} -m venv "$place"
"$place/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "$@"
"""


class InstallationError(Exception):
    """The virtual environment could not be made; the message has pip's words."""


@dataclass(frozen=True)
class Installation:
    """A virtual environment, and today's code."""

    environment: Path
    code: Path

    @property
    def python(self) -> str:
        """In the machine."""
        return f"{PLACE}/bin/python"

    @property
    def binds(self) -> Mapping[str, Path]:
        """What a machine has to be shown where."""
        packages = next(self.environment.glob("lib/python3*/site-packages")).relative_to(self.environment)
        return {PLACE: self.environment, f"{PLACE}/{packages}/trapd": self.code}


def make_installation(kept: Path, session: Path) -> Installation:
    """Make it from this repository as it is now. ``kept`` outlives the session, which may share it with others."""
    source = session / "source"
    source.mkdir()
    for name in _DESCRIBES:
        shutil.copy2(ROOT / name, source)
    code = source / "trapd"
    shutil.copytree(ROOT / "trapd", code, ignore=shutil.ignore_patterns("__pycache__"))
    build = shutil.copytree(source, session / "build")  # pip builds in the tree it is given
    key = b"".join((source / name).read_bytes() for name in _DESCRIBES[:2])
    environment = make_environment(kept, PLACE, [str(build)], key)
    # now: the machine sees it read-only
    subprocess.run(release.command(PYTHON, "-m", "compileall", "-q", str(code), shared=[code]), check=True)
    return Installation(environment, code)


def make_environment(kept: Path, place: str, requirements: Sequence[str], key: bytes) -> Path:
    """A virtual environment that is to be used at ``place``, with these requirements: made once for each ``key``."""
    version = subprocess.run(release.command(PYTHON, "--version"), check=True, capture_output=True).stdout
    environment = kept / hashlib.sha256(version + key).hexdigest()[:16]
    with alone(kept):
        if not environment.exists():
            fresh = kept / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            fresh.chmod(0o755)
            install = ["unshare", "-m", "--propagation", "private", "sh", "-euc", _INSTALL, "sh"]
            sources = [Path(requirement) for requirement in requirements if requirement.startswith("/")]
            command = release.command(*install, str(fresh), place, *requirements, shared=[fresh, *sources])
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, umask=0o022)
            if done.returncode:
                raise InstallationError(f"cannot install {' '.join(requirements)}:\n{done.stdout}{done.stderr}")
            fresh.rename(environment)
            for old in sorted(kept.glob("????????????????"), key=os.path.getmtime)[:-3]:
                shutil.rmtree(old)
    return environment
