"""The application is a conda package, in an environment with Python and Celery."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.support import environments
from tests.support.sample import CELERY, NAME
from tests.upgrades.layouts import Environment
from tests.upgrades.stage import run

INSTALL = Path(__file__).with_name("conda_install.py")


class Conda(Environment):
    """The package's files, with their metadata, are linked into site-packages; `conda-meta` has a record of them."""

    def lay_out(self) -> None:
        environments.copy(self.kept, self.venv, CELERY)
        self.conda("1.0")

    def conda(self, version: str) -> None:
        """Make the package, and install it from a channel of its own."""
        channel, inside = self.home / "channel", self.site.relative_to(self.venv)
        with zipfile.ZipFile(self.wheel(version)) as wheel:
            files = {f"{inside}/{name}": wheel.read(name) for name in wheel.namelist()}
        files[f"{inside}/{NAME}-{version}.dist-info/INSTALLER"] = b"conda\n"  # as conda-build leaves it
        write_package(channel / "linux-64", NAME, version, files)
        own = {"PYTHONPATH": str(environments.tool(self.kept, "py-rattler"))}
        run(sys.executable, str(INSTALL), str(channel), str(self.venv), f"{NAME} =={version}", cwd=self.home, **own)


def write_package(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """Write ``<name>-<version>-0.tar.bz2``; ``files`` maps the path inside the prefix to its content."""
    paths = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(raw).hexdigest(),
            "size_in_bytes": len(raw),
        }
        for path, raw in files.items()
    ]
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}
    info = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        "info/files": "".join(f"{path}\n" for path in files).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(package, "w:bz2") as archive:
        for path, raw in {**info, **files}.items():
            member = tarfile.TarInfo(path)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return package
