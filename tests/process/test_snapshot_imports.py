"""A process of the application's interpreter that has a snapshot first on its path imports from nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support import environments
from tests.support.builders import application
from tests.support.looks import look
from tests.support.site_packages import install, install_editable, make_old
from trapd.generations.snapshot import SnapshotStore
from trapd.layout import interpreter
from trapd.model import Generation

ASK = """
import importlib.metadata, json, sys
import trap, trapd.worker, sdnotify
sys.meta_path[:] = [one for one in sys.meta_path if "__editable__" not in getattr(one, "__module__", "")]
from trap import late  # first imported long after the start
print(json.dumps({
    "files": [trap.__file__, late.__file__, trapd.worker.__file__, sdnotify.__file__],
    "content": [trap.VERSION, late.VERSION],
    "version": importlib.metadata.version("trap"),
}))
"""


class Application:
    """A virtual environment, and what is installed in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        environments.bare(home / "venv")
        self.python = home / "venv/bin/python"
        [self.site] = (home / "venv/lib").glob("python3*/site-packages")
        self.celeryconfig = home / "celeryconfig.py"
        self.celeryconfig.write_text("broker_url = 'memory://'\n")
        make_old(self.celeryconfig)

    def snapshot(self, mode: str) -> Path:
        disk = look(self.python, self.celeryconfig, mode)
        store = SnapshotStore(self.home / "generations")
        generation = Generation(1, disk.fingerprint, disk.versions, {}, "a test", "tests", 0.0)
        asyncio.run(store.make(generation, disk, [], application(python=self.python)))
        return self.home / "generations/1"

    def ask(self, snapshot: Path) -> Any:
        manifest = json.loads((snapshot / "manifest.json").read_text())
        path = os.pathsep.join(str(snapshot / name) for name in manifest["import_path"])
        command = [interpreter(snapshot, str(self.python)), "-P", "-c", ASK]
        done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def package(version: str) -> dict[str, str]:
    return {f"trap/{name}": f"VERSION = {version!r}\n" for name in ("__init__.py", "late.py")}


def write(source: Path, version: str) -> None:
    for path, text in package(version).items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)


def as_wheel(application: Application, version: str) -> None:
    install(application.site, "trap", version, package(version))


def editable_by_path(application: Application, version: str) -> None:
    source = application.home / "tree"
    write(source, version)
    make_old(source)
    install_editable(application.site, source, "trap", version, top_level=["trap"])


FINDER = dedent("""
    import sys
    from importlib.machinery import PathFinder

    MAPPING = {mapping!r}


    class Finder:
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            top = name.partition(".")[0]
            if top in MAPPING:
                return PathFinder.find_spec(name, path or [MAPPING[top].rpartition("/")[0]])


    def install():
        sys.meta_path.append(Finder)
    """)


def editable_by_finder(application: Application, version: str) -> None:
    """As setuptools does it when the source tree cannot be put on the path as it is."""
    source = application.home / "tree"
    write(source / "somewhere", version)
    make_old(source)
    name = f"__editable___trap_{version.replace('.', '_')}_finder"
    files = {
        f"{name}.py": FINDER.format(mapping={"trap": f"{source}/somewhere/trap"}),
        f"__editable__.trap-{version}.pth": f"import {name}; {name}.install()\n",
    }
    install_editable(application.site, source, "trap", version, top_level=["trap"], files=files)


@pytest.mark.parametrize("mode", ["environment", "distributions"])
@pytest.mark.parametrize("setup", [as_wheel, editable_by_path, editable_by_finder])
def test_everything_comes_from_the_snapshot_whatever_happens_to_what_is_installed(
    tmp_path: Path, setup: Callable[[Application, str], None], mode: str
) -> None:
    application = Application(tmp_path)
    setup(application, "1.0")
    snapshot = application.snapshot(mode)
    for _ in range(2):
        answer = application.ask(snapshot)
        assert [path for path in answer["files"] if not path.startswith(f"{snapshot}/")] == []
        assert answer["content"] == ["1.0", "1.0"]
        assert answer["version"] == "1.0"
        setup(application, "2.0")
    before = json.loads((snapshot / "manifest.json").read_text())["fingerprint"]
    assert look(application.python, application.celeryconfig, mode).fingerprint != before
