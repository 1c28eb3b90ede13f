"""Runs a module on an interpreter that need not have trapd: ``python -P .../standalone.py MODULE ARGUMENTS...``

The module can import trapd's worker part as if trapd were installed. Nothing else of the environment that trapd itself
lives in gets onto the import path: a second Celery or numpy from there would be the wrong one. Standard library only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
NEEDED = "trapd.worker.configured"


def make_importable() -> None:
    """Make this very trapd importable, unless one that will do is on the path: that of a snapshot comes first."""
    try:
        if importlib.util.find_spec(NEEDED) is not None:
            return
    except ModuleNotFoundError:
        pass
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE.name]:
        del sys.modules[name]  # one too old to have what is needed
    spec = importlib.util.spec_from_file_location(
        PACKAGE.name, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {PACKAGE}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE.name] = package
    spec.loader.exec_module(package)


def main() -> None:
    with contextlib.suppress(FileNotFoundError):  # the working directory was removed
        # Celery puts it first for as long as it imports, unless it is there: a folder `trap` in it would win
        sys.path.append(str(Path.cwd()))
    make_importable()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
