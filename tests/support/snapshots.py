"""Snapshots made by hand, for tests of the worker alone: a package in ``code``, trapd's worker part in ``runtime``."""

from __future__ import annotations

import atexit
import compileall
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent

from trapd.generations import runtime
from trapd.spec import PoolSpec

NAPS = dedent('''
    """An application with tasks that sleep, and one that imports late."""

    import os
    import time
    from pathlib import Path

    from celery import Celery

    app = Celery("naps")


    @app.task
    def nap(seconds, path=None):
        if path:
            Path(path + ".started").touch()
        time.sleep(seconds)
        if path:
            with open(path, "a") as file:
                file.write("done\\n")
        return os.getppid()


    @app.task
    def hold(path):
        """Lasts until there is a file ``path``.go."""
        Path(path + ".started").touch()
        while not Path(path + ".go").exists():
            time.sleep(0.02)
        Path(path).write_text("done\\n")


    @app.task
    def late():
        from naps import later

        return later.__file__

    ''')


def lay_out_runtime(folder: Path) -> None:
    """What of trapd travels with a snapshot."""
    shutil.copytree(_runtime(), folder / "runtime", copy_function=_link)


def _link(source: str, target: str) -> None:
    """Nobody writes into these files; Python, where it compiles one anew, makes another."""
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@cache
def _runtime() -> Path:
    """Gathered once in a process, since that is 0.1 to 0.2 s of work. With what Python compiles of it, as in a snapshot
    of trapd's, or each worker would do that anew."""
    folder = Path(tempfile.mkdtemp(prefix="td-runtime-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    for path, source in runtime.files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    compileall.compile_dir(folder, quiet=1)
    return folder


def make_generation(
    generations: Path,
    number: int,
    *,
    celeryconfig: str,
    python: str,
    files: Mapping[str, str] | None = None,
    app: str = "naps.jobs:app",
    pools: Mapping[str, PoolSpec] | None = None,
    watched: Mapping[str, list[str]] | None = None,
    **more: object,
) -> Path:
    """``files``: in the snapshot's code folder, beside the usual ones of ``naps``. ``more``: keys of the manifest."""
    folder = generations / str(number)
    usual = {"naps/__init__.py": "", "naps/jobs.py": NAPS, "naps/later.py": ""}
    for name, text in {**usual, **(files or {})}.items():
        path = folder / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lay_out_runtime(folder)
    (folder / "etc").mkdir()
    (folder / "etc/celeryconfig.py").write_text(celeryconfig)
    specs = pools or {"default": PoolSpec("default", concurrency=1)}
    manifest = {
        "schema": 1,
        "number": number,
        "fingerprint": f"fingerprint-{number}",
        "digest": f"fingerprint-{number}",
        "versions": {"naps": "1.0"},
        "reason": "test",
        "wall": 0.0,
        "app": app,
        "python": python,
        "smoke_test": None,
        "import_path": ["code", "runtime"],
        "celeryconfig": "etc/celeryconfig.py",
        "watched": watched or {"naps": ["naps"]},
        "pools": {name: spec.launch() for name, spec in specs.items()},
        **more,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
