"""Which files of trapd travel with a snapshot."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from trapd.generations import runtime


def sources() -> dict[str, Path]:
    return {path: file for path, file in runtime.files() if path.endswith(".py")}


def test_the_worker_and_traps_tasks_travel_and_nothing_else_of_trapd() -> None:
    tops = {"/".join(path.split("/")[:2]) for path in sources()}
    assert tops == {
        "trapd/__init__.py",
        "trapd/atomic.py",
        "trapd/durations.py",
        "trapd/environment.py",
        "trapd/environment_file.py",
        "trapd/layout.py",
        "trapd/masking.py",
        "trapd/mount_table.py",
        "trapd/sizes.py",
        "trapd/memory_events.py",
        "trapd/task_table.py",
        "trapd/worker",
        "trapd/distribute",
        "sdnotify/__init__.py",
    }


def test_what_travels_imports_nothing_that_stays_behind() -> None:
    """Of trapd, only what travels too; so a snapshot is enough, whatever trapd is installed or not."""
    travelling = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources()}
    wrong = [
        (path, name)
        for path, file in sources().items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in _modules(node)
        if name.split(".")[0] == "trapd" and name not in travelling
    ]
    assert not wrong


def _modules(node: ast.ImportFrom | ast.Import) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]


def test_every_file_is_there() -> None:
    assert all(file.is_file() for _, file in runtime.files())
    assert sys.modules["trapd"].__file__ == str(sources()["trapd/__init__.py"])
