"""Places on disk are named in one file, and files are replaced by one function; what is shipped names the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trapd import layout

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"/(etc|run|var/lib|var/cache)/trapd\b")
# Calls that move something which is no file replaced in one step, or that cannot be done by atomic.write, and why.
MOVES = {
    "trapd/atomic.py": "the one place",
    "trapd/backend/embedded/records.py": "turns a worker's log, as logrotate does",
    "trapd/ctl/placing.py": "replaces a symbolic link",
    "trapd/distribute/trap_database.py": "gives a database its name when it is whole",
    "trapd/generations/ahead.py": "moves links that were made ahead into the generation that takes them over",
    "trapd/generations/compiling.py": "moves what was compiled into a folder that nobody may write",
    "trapd/generations/filling.py": "puts a link in the place of a file with the same content",
    "trapd/generations/kept.py": "moves a whole generation",
    "trapd/generations/maker.py": "gives a whole generation its name, or takes it",
    "trapd/worker/compiled_folder.py": "publishes a folder, and sets aside one that cannot be used",
    "trapd/worker/account.py": "the file is locked before it gets its name",
    "trapd/worker/poison.py": "several workers may write the same one at once",
    "trapd/worker/file_broker.py": "sets aside what somebody else has written half",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "trapd").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_no_other_file_names_a_place_of_trapds() -> None:
    found = {
        (name, node.value)
        for name, tree in modules()
        if name != "trapd/layout.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.match(node.value)
    }
    assert not found


def test_no_other_file_replaces_one_in_its_own_way() -> None:
    found = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in ("rename", "renames") or (node.func.attr == "replace" and len(node.args) == 1)
        if not any(keyword.arg for keyword in node.keywords)
    }
    assert found == set(MOVES)


@pytest.mark.parametrize(
    ("file", "places"),
    {
        "systemd/system-generators/trapd-generator": (layout.UNITS_KEPT_NOW, layout.UNITS_KEPT),
        "systemd/tmpfiles.d/trapd.conf": (
            layout.CONFIGURATION.parent,
            layout.STATE_DIRECTORY,
            layout.State(layout.STATE_DIRECTORY).generations,
            layout.WORKERS_STATE,
            layout.WORKERS_CACHE,
        ),
        "systemd/sysusers.d/trapd.conf": (layout.STATE_DIRECTORY, layout.WORKERS_STATE),
        "systemd/debian/postinst": (layout.CONFIGURATION, layout.CELERYCONFIG, layout.SYSTEMD_BOOTED),
        "systemd/debian/postrm": (
            *(layout.STATE_DIRECTORY, layout.RUNTIME_DIRECTORY, layout.UNITS_KEPT_NOW, layout.UNITS_KEPT),
            *(layout.WORKERS_STATE, layout.WORKERS_CACHE, layout.WORKERS_RUNTIME),
        ),
        "etc/trapd.toml": (layout.STATE_DIRECTORY, layout.RUNTIME_DIRECTORY, layout.CELERYCONFIG),
    }.items(),
)
def test_shipped_files_name_the_same_places(file: str, places: tuple[Path, ...]) -> None:
    words = set(re.findall(r"/[\w./-]*[\w/-]", (ROOT / file).read_text()))
    assert {str(place) for place in places} <= words


def test_units_name_the_same_places_by_systemds_own_names() -> None:
    """%S is /var/lib, %C /var/cache and %t /run (systemd.unit(5))."""
    worker = (ROOT / "systemd/trapd-worker@.service.in").read_text()
    reports = layout.Runtime(layout.WORKERS_RUNTIME).instances
    assert f"RuntimeDirectory=trapd-worker {reports.relative_to('/run')}\n" in worker
    assert f"StateDirectory={layout.WORKERS_STATE.relative_to('/var/lib')}\n" in worker
    assert f"CacheDirectory={layout.WORKERS_CACHE.relative_to('/var/cache')}\n" in worker
    assert f" {layout.BOOT}\n" in (ROOT / "systemd/trapd-boot.service").read_text()
