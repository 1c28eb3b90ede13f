"""Finds what a text points at, files and modules of this repository, and says which of them do not exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

# A path is taken for ours if it starts with one of our folders, or if it is a .py file in a folder of the package.
_OURS = r"(?:trapd|tests|docs|etc|systemd|benchmarks|\.ci)/[\w./-]*[\w/]"
_PYTHON = r"\w+(?:/\w+)+\.py"
_PATH = re.compile(rf"(?<![\w./<>{{}}-])(?:{_OURS}|{_PYTHON})(?![\w<{{*])")
_DOTTED = re.compile(r"(?<![\w./@-])trapd(?:\.[A-Za-z_]\w*)+(?![\w./@-])")
_NOT_MODULES = frozenset({"toml", "service", "slice", "socket", "rules", "conf", "sock", "target", "md"})
# Not pointers into this repository: paths inside a generation or on the administrator's machine.
_ELSEWHERE = ("code/", "runtime/", "etc/trapd/", "/")


def missing(text: str) -> list[str]:
    """The paths and dotted names in ``text`` that point at nothing."""
    paths = {found.rstrip("/.") for found in _PATH.findall(text) if _ours(found)}
    names = {found for found in _DOTTED.findall(text) if found.split(".")[1] not in _NOT_MODULES}
    return sorted({path for path in paths if not _file(path)} | {name for name in names if not _name(name)})


def _ours(path: str) -> bool:
    first = path.partition("/")[0]
    return not path.startswith(_ELSEWHERE) and any((ROOT / place / first).is_dir() for place in ("", "trapd", "tests"))


def _file(path: str) -> bool:
    """``rollout/plan.py`` is how people write ``trapd/rollout/plan.py``."""
    return (ROOT / path).exists() or (ROOT / "trapd" / path).exists() or (ROOT / "tests" / path).exists()


def _name(dotted: str) -> bool:
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = _module(".".join(parts[:length]))
        if module is not None:
            return length == len(parts) or parts[length] in _defined(module)
    return False


def _module(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((one for one in candidates if one.is_file()), None)


@cache
def _defined(module: Path) -> frozenset[str]:
    """The names that a module defines at its top level."""
    return frozenset(_top_level(ast.parse(module.read_text())))


def _top_level(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (one.asname or one.name for one in names)


def prose(source: str) -> str:
    """The docstrings and comments of a Python source."""
    docstrings = (
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )
    comments = re.findall(r"(?:^|\s)#\s(.*)$", source, re.MULTILINE)
    return "\n".join([*docstrings, *comments])
