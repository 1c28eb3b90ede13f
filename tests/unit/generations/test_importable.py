"""Which names a set of files is imported by, and whose they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable
from trapd.generations.importable import below, names, watched


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["trap/__init__.py", "trap/inner/run.py"], {"trap"}),
        (["_trap.cpython-311-x86_64-linux-gnu.so", "single.py"], {"_trap", "single"}),
        (["trap/__init__.py", "trap.libs/a.so", "trap-1.0.dist-info/RECORD", "trap.pth"], {"trap"}),
        (["ns/trap/__init__.py", "ns/trap/data/x.csv", "ns/single.py"], {"ns.trap", "ns.single"}),
        (["ns/deep/er/__init__.py", "ns/__pycache__/single.cpython-311.pyc"], {"ns.deep.er"}),
        (["__init__.py", "trap/x.py"], {"__init__", "trap.x"}),
        (["data/x.csv", "readme.txt"], {"data"}),
    ],
)
def test_names_are_those_of_packages_and_modules(files: list[str], expected: set[str]) -> None:
    assert names(files) == expected


def test_paths_are_told_relative_to_the_innermost_folder() -> None:
    paths = ["code/trap/a.py", "tree/src/b.py", "tree/src/inner/c.py", "etc/celeryconfig.py"]
    assert list(below(["code", "tree/src", "tree/src/inner"], paths)) == ["trap/a.py", "b.py", "c.py"]


def test_whose_they_are_is_told_by_the_metadata_in_the_snapshot(tmp_path: Path) -> None:
    install(tmp_path, "trap", "1.3.0", {"trap/__init__.py": "", "_trap.cpython-311-x86_64-linux-gnu.so": ""})
    install(tmp_path, "radio-pyse", "0.7", {"sourcefinder/__init__.py": ""})
    assert watched({"_trap", "trap", "sourcefinder"}, [tmp_path], {"trap": "1.3.0", "radio-pyse": "0.7"}) == {
        "trap": ["_trap", "trap"],
        "radio-pyse": ["sourcefinder"],
    }


def test_in_a_namespace_only_what_the_snapshot_has_of_it_is_watched(tmp_path: Path) -> None:
    install(tmp_path, "ns-trap", "1.3.0", {"ns/trap/__init__.py": "", "ns/single.py": ""})
    assert watched({"ns.single", "ns.trap"}, [tmp_path], {"ns-trap": "1.3.0"}) == {"ns-trap": ["ns.single", "ns.trap"]}


def test_names_without_metadata_belong_to_distributions_without_any(tmp_path: Path) -> None:
    install(tmp_path, "trap", "1.3.0", {"trap/__init__.py": ""})
    install_editable(tmp_path, tmp_path, "radio-pyse", "0.7")
    found = watched({"trap", "single", "sourcefinder"}, [tmp_path], {"trap": "1.3.0", "radio-pyse": "0.7"})
    assert found == {"trap": ["trap"], "radio-pyse": ["single", "sourcefinder"]}


@pytest.mark.parametrize("file", ["RECORD", "top_level.txt"])
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b",,\n", b",,,,\n", b"trap/__init__.py,,x\n", b'"' + b"x" * 200_000, b"\0,,\n", b".\n", b""],
)
def test_metadata_that_nobody_can_read_claims_nothing(tmp_path: Path, file: str, content: bytes) -> None:
    """It must not keep a snapshot from being made, again and again: who watches found it good enough."""
    info = install(tmp_path, "trap", "1.3.0", {"trap/__init__.py": ""})
    (info / file).write_bytes(content)
    assert watched({"trap"}, [tmp_path], {"trap": "1.3.0"}) == {"trap": ["trap"]}


def test_the_daemon_reads_metadata_without_what_takes_5_mb() -> None:
    script = "import sys, trapd.daemon; print({'importlib.metadata', 'zipfile', 'email.message'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout == b"set()\n"


@pytest.mark.parametrize("folder", ["Shop_Cart-1.0.dist-info", "shop.cart-1.0-py3.11.egg-info"])
def test_metadata_is_found_under_each_spelling_of_a_name(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    recorded = "RECORD" if folder.endswith(".dist-info") else "SOURCES.txt"
    (tmp_path / folder / recorded).write_text("cart/__init__.py,,\nbasket.py,,\n")
    code = {"cart", "basket", "other"}
    assert watched(code, [tmp_path / "none", tmp_path], {"shop-cart": "1.0"}) == {"shop-cart": ["basket", "cart"]}
