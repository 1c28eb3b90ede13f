"""Which paths never matter."""

from __future__ import annotations

import pytest

from trapd.watch.ignore import ignored, is_no_code, matters

NEVER = [
    "__pycache__",
    "run.cpython-311.pyc",
    "run.py~",
    ".run.py.swp",
    "4913",
    ".#run.py",
    "#run.py#",
    ".goutputstream-X1Y2Z3",
    "run.py___jb_tmp___",
    ".nfs000001",
    ".git",
    ".mypy_cache",
]


@pytest.mark.parametrize("name", NEVER)
def test_caches_and_editors_files_are_ignored(name: str) -> None:
    assert ignored(name)


@pytest.mark.parametrize("name", ["run.py", "~rap", "~rap-1.3.0.dist-info", "data.csv", "lib.so", ".config", "a~b.py"])
def test_code_data_and_the_stash_of_pip_are_not(name: str) -> None:
    assert not ignored(name)


@pytest.mark.parametrize("name", ["run.py.orig", "run.py.rej", "run.py.bak", "README", "README.md"])
def test_what_people_read_and_tools_leave_is_copied_and_no_code(name: str) -> None:
    assert not ignored(name)
    assert is_no_code(name)
    assert not matters(f"sub/{name}")


def test_what_lies_below_an_ignored_folder_does_not_matter() -> None:
    assert matters("sub/run.py")
    assert matters("")  # the top of the tree itself: it came or went
    assert not matters("sub/__pycache__/run.cpython-311.pyc.140233")
    assert not matters(".git/index")
