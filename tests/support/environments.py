"""Virtual environments of the tests' applications: pip fills one, later sessions and other processes copy it.

pip takes 10 to 30 s, a copy 1 s. The scripts of a copy still name the first one's interpreter: use ``python -m``.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def make(directory: Path, *requirements: str) -> Path:
    """The interpreter of a new virtual environment in ``directory``, with these packages."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin/python"
    pip(python, "install", *requirements)
    return python


def bare(directory: Path, system_site_packages: bool = False) -> None:
    """A new virtual environment without pip, as ``python -m venv --without-pip`` makes it for 0.1 s of work."""
    venv.create(directory, system_site_packages, symlinks=True)


def copy(kept: Path, directory: Path, *requirements: str) -> Path:
    """As ``make``, from a copy that is in ``kept`` from the second time on."""
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:16]
    original = kept / key
    with alone(kept):
        if _filled(original, lambda fresh: make(fresh, *requirements)):
            for old in sorted(kept.glob("????????????????"), key=lambda path: path.stat().st_mtime)[:-3]:
                shutil.rmtree(old)
    subprocess.run(["cp", "-a", str(original), str(directory)], check=True)
    return directory / "bin/python"


def tool(kept: Path, *requirements: str) -> Path:
    """A folder into which pip has installed a program, without an environment: put it on PYTHONPATH."""
    folder = kept / f"tool-{'-'.join(requirements).replace('=', '')}"
    with alone(kept):
        _filled(folder, lambda fresh: pip(Path(sys.executable), "install", "--target", str(fresh), *requirements))
    return folder


def wheelhouse(kept: Path, *requirements: str) -> Path:
    """A folder with the wheels of these packages and of all that they require."""
    folder = kept / f"wheels-{hashlib.sha256(' '.join((sys.version, *requirements)).encode()).hexdigest()[:16]}"
    with alone(kept):
        _filled(folder, lambda fresh: pip(Path(sys.executable), "wheel", "--wheel-dir", str(fresh), *requirements))
    return folder


def _filled(folder: Path, fill: Callable[[Path], object]) -> bool:
    """Fill a folder under another name first, so that it is whole or not there; returns False if it was there."""
    if folder.exists():
        return False
    fresh = folder.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fill(fresh)
    fresh.rename(folder)
    return True


def pip(python: Path, *arguments: str) -> None:
    """Run pip; raises RuntimeError with its words if it fails."""
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot run {' '.join(command)}:\n{done.stdout}{done.stderr}")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two processes must not fill the same folder at once."""
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
