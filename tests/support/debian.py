"""trapd's own Debian package, built as `make deb` builds it, and throw-away packages of other things."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support import release

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "systemd/debian/build.sh"
_UNPACKED = {**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"}  # seconds less, for a package that lives as long


class PackageError(Exception):
    """It could not be built; the message has the builder's words."""


def build_package(kept: Path) -> Path:
    """trapd as it is now; takes a minute where anything in it has changed. Other sessions may share ``kept``."""
    digest = hashlib.sha256(release.RELEASE.encode())
    for path in sorted(_inputs()):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    folder = kept / digest.hexdigest()[:16]
    with (kept / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (built := sorted(folder.glob("*.deb"))):
            for old in sorted(kept.glob("*/*.deb"), key=os.path.getmtime)[:-2]:
                old.unlink()
            folder.mkdir(exist_ok=True)
            _run(*release.command("bash", str(BUILD), str(folder), shared=[ROOT, folder]))
            built = sorted(folder.glob("*.deb"))
    return built[0]


def _inputs() -> Iterator[Path]:
    """What build.sh packs; it is read there, so that the two cannot differ."""
    names = re.search(r'tar -C "\$root" -c --exclude=__pycache__ (.+) \|', BUILD.read_text())
    assert names, f"{BUILD} no longer says what it packs as it did"
    for name in names[1].split():
        path = ROOT / name
        yield from (
            [path]
            if path.is_file()
            else (one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
        )


def next_revision(package: Path, folder: Path) -> Path:
    """The same package with a higher revision: what an upgrade needs, without a second build."""
    tree = folder / "tree"
    _run("dpkg-deb", "--raw-extract", str(package), str(tree))
    control = tree / "DEBIAN/control"
    text = re.sub(r"^(Version: .*-)(\d+)$", lambda m: f"{m[1]}{int(m[2]) + 1}", control.read_text(), flags=re.MULTILINE)
    control.write_text(text)
    return _pack(tree, folder)


def write_package(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    scripts: Mapping[str, str] | None = None,
    depends: str = "",
) -> Path:
    """A package of these files (absolute path -> text), with maintainer scripts if any."""
    tree = folder / f"{name}-{version}"
    for path, text in files.items():
        target = tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "tests <tests@localhost>"}
    fields["Description"] = "thrown away after a test"
    if depends:
        fields["Depends"] = depends
    (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    for script, text in (scripts or {}).items():
        (tree / "DEBIAN" / script).write_text(text)
        (tree / "DEBIAN" / script).chmod(0o755)
    return _pack(tree, folder)


def download(kept: Path, package: str) -> list[Path]:
    """A package of Debian, with all that it needs and this machine lacks. Other sessions may share ``kept``."""
    folder = kept / package
    with (kept / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not folder.is_dir():
            fresh = kept / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            (fresh / "partial").mkdir(parents=True)
            options = ["--download-only", "--no-install-recommends", "--yes", f"--option=Dir::Cache::archives={fresh}"]
            _run("apt-get", *options, "install", package)
            fresh.rename(folder)
    return sorted(folder.glob("*.deb"))


def _pack(tree: Path, folder: Path) -> Path:
    words = _run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(folder))
    found = re.search(r"in '(.+)'", words)
    assert found, words
    return Path(found[1])


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_UNPACKED)
    if done.returncode:
        raise PackageError(f"cannot run {' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout
