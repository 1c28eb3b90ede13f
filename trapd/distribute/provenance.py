"""The code that decides what is extracted from an image: two answers with the same values here are comparable."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from pathlib import Path

# Trap and its source finder (each Trap requires exactly one version of it), and what compiles and does the arithmetic.
DISTRIBUTIONS = ("trap", "radio-pyse", "numba", "numpy")


def versions() -> dict[str, str]:
    """Return the version of each of ``DISTRIBUTIONS`` that is installed. Raises PackageNotFoundError without Trap."""
    found = {"trap": importlib.metadata.version("trap")}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def digest(module: Path) -> str | None:
    """Return the digest of the generation that holds ``module``, a file of this package; None outside a generation.

    Two builds of the same version have different digests, and so have two environments of the same four versions.
    """
    runtime = module.parents[2]
    if runtime.name != "runtime":
        return None
    try:
        return str(json.loads((runtime.parent / "manifest.json").read_bytes())["digest"])
    except (OSError, ValueError, KeyError):
        return None
