"""Installs without pip: puts a wheel's files where pip would, for tests that need no virtual environment."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.wheels import write_wheel


def install(
    site: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    *,
    requires: Sequence[str] = (),
    installer: str = "pip",
) -> Path:
    """Unpack a wheel of these files into ``site`` as ``installer`` does; returns its dist-info folder.

    An installed version of the same name is removed first. The files are a day old, and what comes later is
    later for the file system too.
    """
    uninstall(site, name)
    wheel = write_wheel(site.parent / "wheels", name, version, files, requires=requires)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        tops = {site / name.partition("/")[0] for name in archive.namelist()}
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    (info / "INSTALLER").write_text(f"{installer}\n")
    with (info / "RECORD").open("a") as record:
        record.write(f"{info.name}/INSTALLER,,\n../../../bin/{name},sha256=none,1\n")
    make_old(*tops)
    tick(site)
    return info


def tick(folder: Path) -> None:
    """Until the file system's clock, which has steps of some milliseconds, has moved on."""
    probe = folder / "tick"
    probe.touch()
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        probe.touch()
    probe.unlink()


def make_old(*tops: Path) -> None:
    """Set the modification time of every file below these folders, or of these files, a day back."""
    yesterday = time.time() - 86400
    for top in tops:
        for file in [top, *top.rglob("*")]:
            os.utime(file, (yesterday, yesterday))


def uninstall(site: Path, name: str) -> None:
    """Remove a distribution and whatever lies in its folders."""
    for info in site.glob(f"{name.replace('-', '_')}-*.dist-info"):
        tops = {line.partition(",")[0].partition("/")[0] for line in (info / "RECORD").read_text().splitlines()}
        for top in (site / name for name in tops - {"", ".."}):
            if top.is_dir():
                shutil.rmtree(top)
            elif top.is_file():
                top.unlink()


def install_editable(
    site: Path, source: Path, name: str, version: str, *, top_level: Sequence[str] = (), files: Mapping[str, str] = {}
) -> Path:
    """What ``pip install -e`` leaves in site-packages for ``source``; returns the dist-info folder.

    ``files`` are the path file and the finder, if an interpreter is to see them; by default the source tree's path.
    """
    info = install(site, name, version, files or {f"__editable__.{name}-{version}.pth": f"{source}\n"})
    (info / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}, "url": source.as_uri()}))
    if top_level:
        (info / "top_level.txt").write_text("\n".join(top_level) + "\n")
    make_old(info)
    return info
