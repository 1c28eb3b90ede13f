"""Which paths inside a watched tree never matter: caches, version control and editors' temporary files."""

from __future__ import annotations

import re
from fnmatch import translate

_FOLDERS = frozenset(
    {
        "__pycache__",
        ".git",
        ".hg",
        ".svn",
        ".idea",
        ".vscode",
        ".ipynb_checkpoints",
        ".hypothesis",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".nox",
        ".tox",
        ".venv",
    }
)
_NAMES = (
    "*.py[co]",
    "*~",  # backups; pip's stash has its ~ in front
    "*.sw[opx]",  # vim
    "4913",  # vim, to find out whether a folder is writable
    ".#*",  # emacs: locks
    "[#]*[#]",  # emacs: autosave
    ".~lock.*",  # LibreOffice, for tables kept as package data
    ".goutputstream-*",  # gedit and everything on GIO
    "*.kate-swp",
    "*___jb_tmp___",  # PyCharm writes these two for every file it saves
    "*___jb_old___",
    ".nfs*",  # deleted, but still open on another machine
    ".fuse_hidden*",
    ".DS_Store",
)

# Read by people, or left by tools: copied, for a program may open anything, but a change of one changes no code.
_NO_CODE = (
    "*.bak",
    "*.orig",  # git and patch: what was there before a merge
    "*.rej",  # patch: what did not fit
    "README",
    "README.*",
)

# one pattern instead of twenty: each look asks it of each file
_IGNORED, _FREE = (re.compile("|".join(map(translate, patterns))).match for patterns in (_NAMES, _NO_CODE))


def ignored(name: str) -> bool:
    """Whether a file or folder of this name never matters, wherever it is."""
    return name in _FOLDERS or _IGNORED(name) is not None


def is_no_code(name: str) -> bool:
    """Whether a file of this name may change without making the code another."""
    return _FREE(name) is not None


def matters(path: str) -> bool:
    """Whether a path, relative to the top of a watched tree, can be part of the code; ``""`` is the top itself."""
    return not (any(ignored(part) for part in path.split("/")) or is_no_code(path.rpartition("/")[2]))
