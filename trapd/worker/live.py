"""What a worker uses of the machine itself, and no generation holds still.

A change of it reaches a worker at once, or with its next start, and recycles nobody.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

_MOST = 500  # libraries; a worker of Trap's has some two hundred, most of them in site-packages


def live(generation: str, installed: str = "") -> dict[str, Any]:
    """``folders``: read whenever something there is asked for; ``libraries``: of the system, as they are loaded now.

    ``installed``: the environment that the generation has a copy of, whose programs and data are links to the original.
    """
    paths = [sysconfig.get_path(name) for name in ("stdlib", "scripts", "data")]
    standard, scripts, prefix = [str(path) for path in paths]
    if installed:
        scripts, prefix = f"{installed}/bin", installed
    folders = [
        standard,
        scripts,
        f"{prefix}/share",
        *(e for e in sys.path if e.endswith(("site-packages", "dist-packages"))),
    ]
    return {
        "folders": [folder for folder in folders if Path(folder).is_dir() and not _is_in(folder, generation)],
        "libraries": [path for path in _mapped() if not any(_is_in(path, f) for f in (generation, *folders))][:_MOST],
    }


def _mapped() -> list[str]:
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/") and " r-xp " in f" {line} "}
    return sorted(path for path in paths if ".so" in path and not path.endswith(" (deleted)"))


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
