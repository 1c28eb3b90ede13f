"""The program that the application's interpreter runs to compile what it would compile at each start of a worker.

A script of the standard library alone, as that interpreter need not know trapd. Standard input: a JSON text with
``folder``, ``sources`` (modules, relative to it), ``levels`` (of optimization), ``there``: compiled files that are not
made again, and ``target``: the folder in which the compiled files get the same places. A module that cannot be compiled
is left out: Python says why if somebody imports it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import py_compile
import sys
import warnings
from pathlib import Path

_NICE = 19  # workers start meanwhile


def main() -> None:
    job = json.load(sys.stdin)
    parent, there = os.getppid(), frozenset(job["there"])
    with contextlib.suppress(PermissionError):  # the SystemCallFilter= of trapd's unit has no @resources
        os.nice(_NICE)
    warnings.simplefilter("ignore")
    for source in job["sources"]:
        for level in job["levels"]:
            if os.getppid() != parent:  # trapd has ended
                return
            compiled = importlib.util.cache_from_source(source, optimization=level or "")
            if compiled not in there:
                _compile(Path(job["folder"], source), Path(job["target"], compiled), level, name=source)


def _compile(source: Path, target: Path, level: int, *, name: str) -> None:
    """``name`` stands in the code until it is imported, which puts the true path there: it tells no generation."""
    with contextlib.suppress(Exception):  # a template, code for another Python, nested too deep
        py_compile.compile(
            str(source),
            str(target),
            name,
            doraise=True,
            optimize=level,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    main()
