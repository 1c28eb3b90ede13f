"""Files under names that no person gives: a look, its fingerprint and a snapshot survive them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.support.builders import application
from tests.support.site_packages import install, install_editable, make_old
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Generation
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places
from trapd.watch.quiet import Verdict
from trapd.watch.survey import Survey, Surveyor

NAMES = [
    b"line\nbreak",
    b"carriage\rreturn",
    b"\x01\x1b[31m\x7f",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b'tab\tquote"comma,',
    b" ",
    b"back\\slash",
    b"-rf",
    "\u2028\u0085\x0b\x1c".encode(),
    "\u00e9".encode(),
    b"*[?]",
    b"x" * 250,
    b"$(date);'",
]


def look(home: Path, *paths: Path) -> Survey:
    config = home / "celeryconfig.py"
    config.touch()
    make_old(config)
    answer = Answer(tuple(map(str, paths)), "python", str(home), celeryconfig=hashlib.sha256(b"").hexdigest())

    def arm(places: Places) -> frozenset[Path]:
        return frozenset()

    return Surveyor(home / "python", config, ["trap"]).look(answer, arm, wall=time.time(), fresh=True)


def odd_files(folder: Path) -> set[Path]:
    """One of each, and each in a folder of its kind."""
    made = set()
    for name in map(os.fsdecode, NAMES):
        (folder / f"d{name[:200]}").mkdir(parents=True)
        for path in (folder / f"{name}.py", folder / f"d{name[:200]}" / name):
            path.touch()
            made.add(path)
    return made


def check(home: Path, *paths: Path) -> None:
    found = look(home, *paths)
    assert found.finding.verdict is Verdict.WHOLE, repr(found.finding.reason)
    store = SnapshotStore(home / "generations")
    generation = Generation(1, found.disk.fingerprint, found.disk.versions, {}, "a test", "tests", 0.0)
    asyncio.run(store.make(generation, found.disk, [], application(python=sys.executable)))
    asyncio.run(store.copy(replace(generation, number=2), 1, []))
    again = SnapshotStore(home / "generations")
    assert again.present() == {1, 2}
    for number in ("1", "2"):
        assert all((home / "generations" / number / file.path).is_file() for file in found.disk.files)


def test_odd_names_in_an_editable_install_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "tree/trap").mkdir(parents=True)
    (tmp_path / "tree/trap/__init__.py").touch()
    names = odd_files(tmp_path / "tree/trap")
    install_editable(tmp_path / "site-packages", tmp_path / "tree", "trap", "1", top_level=["trap"])
    files = {Path(file.source) for file in look(tmp_path, tmp_path / "site-packages", tmp_path / "tree").disk.files}
    assert files >= names
    check(tmp_path, tmp_path / "site-packages", tmp_path / "tree")
    odd_files(tmp_path / "tree")
    odd_files(tmp_path / "site-packages")
    assert look(tmp_path, tmp_path / "site-packages", tmp_path / "tree").finding.verdict is Verdict.WHOLE


def test_odd_names_that_are_recorded_are_no_matter(tmp_path: Path) -> None:
    """A RECORD quotes line ends, and others than \\n end no line of it."""
    names = [n.decode() for n in NAMES if n not in (b"\xff\xfe", b"\xed\xa0\x80")]
    files = {f"trap/{name}.py": "" for name in names} | {f"{name}.py": "x = 1\n" for name in names}
    install(tmp_path / "site-packages", "trap", "1", {"trap/__init__.py": "", **files})
    check(tmp_path, tmp_path / "site-packages")
