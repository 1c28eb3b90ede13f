"""Lists of files by folder: the same files, in the same order, as a list with an object for each."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from trapd import file_stamp
from trapd.folders import Copies, Files, SourceFile, in_order, together
from trapd.watch import records
from trapd.watch.contents import digest_of
from trapd.watch.fingerprint import Hasher
from trapd.watch.record_file import Layouts, read_record
from trapd.watch.records import Records
from trapd.watch.tree import walk
from trapd.watch.walked import Walked

PATHS = ("a.py", "a/b.py", "a/b/c.py", "a/b-d/e.py", "a-f/g.py", "a/README", "z.py", "a/\u00e9.py", "a/\U0001f600.py")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for path in PATHS:
        file = tmp_path / "top" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {path}\n")
    return tmp_path / "top"


@pytest.fixture(autouse=True)
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written a moment ago are trusted."""
    monkeypatch.setattr(records, "RACY", 0)


def walked(top: Path, hasher: Hasher) -> Walked:
    return Walked(Files(tuple(walk(top, "top", compiled=False).files)), hasher)


def test_a_distribution_has_the_digest_that_a_list_of_its_files_has(top: Path) -> None:
    paths = [path for path in PATHS if path != "a/README"]
    listed = [(f"top/{path}", hashlib.sha256(f"# {path}\n".encode()).hexdigest()) for path in paths]
    assert walked(top, Hasher()).digest() == digest_of(listed)


def test_files_come_in_the_order_of_their_paths_whatever_folders_they_are_in(top: Path) -> None:
    hasher = Hasher()
    folders = walk(top, "top", compiled=False).files
    paths = [path for path, _ in in_order((folder, hasher.folder(folder).joined) for folder in folders)]
    assert paths == sorted(paths)
    assert len(paths) == len(PATHS) - 1


def test_only_the_changed_file_of_a_folder_is_read_again(top: Path) -> None:
    reads: list[str] = []

    def note(path: str) -> bytes:
        reads.append(Path(path).name)
        return file_stamp.digest(path)

    hasher = Hasher(read_digest=note, racy=0)
    before = walked(top, hasher).mark()
    assert len(reads) == len(PATHS) - 1
    for fresh, change, again in ((False, False, []), (False, True, ["b.py"]), (True, False, sorted(reads))):
        reads.clear()
        if change:
            (top / "a/b.py").write_text("# other\n")
        hasher.begin(fresh=fresh)
        assert (walked(top, hasher).mark() != before) is (change or fresh)
        assert sorted(reads) == again


def test_a_file_read_within_the_clocks_resolution_of_its_change_is_read_again(top: Path) -> None:
    hasher = Hasher(racy=3600 * 10**9)
    before = walked(top, hasher).mark()
    status = (top / "z.py").stat()
    (top / "z.py").write_text("# y.py\n")
    os.utime(top / "z.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    hasher.begin(fresh=False)
    assert walked(top, hasher).mark() != before


def test_what_is_copied_are_the_same_files(top: Path) -> None:
    hasher = Hasher()
    folders = walk(top, "code/top", compiled=False).files
    copies = Copies(tuple((folder, hasher.folder(folder).joined) for folder in folders))
    found = {file.path: file for file in copies}
    assert found.keys() == {f"code/top/{path}" for path in PATHS}
    assert len(copies) == len(PATHS)
    assert found["code/top/a/README"].digest == ""
    assert found["code/top/a/b.py"].source == str(top / "a/b.py")
    assert found["code/top/a/b.py"].digest == hashlib.sha256(b"# a/b.py\n").hexdigest()


def test_named_files_of_one_folder_are_one_folder_and_keep_other_names(top: Path) -> None:
    files = [SourceFile("x.py", str(top / "a.py")), SourceFile("z.py", str(top / "z.py"), counted=False)]
    assert sorted(Files(tuple(together(files))), key=lambda file: file.path) == files


def test_a_record_is_compared_with_what_the_walk_has_read(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only what the walk passes over, of another kind or in other places, is read here."""
    info, reads = top.parent / "top-1.dist-info", list[str]()
    info.mkdir()
    (info / "INSTALLER").write_text("pip\n")
    lines = [f"top/{path},sha256={records._digest(top / path)},{(top / path).stat().st_size}" for path in PATHS]
    (info / "RECORD").write_text("\n".join([*lines, "top/a//b.py,,", f"{info.name}/INSTALLER,,", "../bin/x,,", "."]))
    assert [line.path for line in read_record(info)][-2:] == ["top/a/b.py", f"{info.name}/INSTALLER"]

    def note(file: Path) -> str:
        reads.append(file.name)
        return "no digest"

    monkeypatch.setattr(records, "_digest", note)
    monkeypatch.setattr(records, "_fault", lambda file, line: reads.append(file.name))
    known, hasher = Records(), Hasher(racy=0)
    for changed, expected in (
        (False, ["INSTALLER", "README", "b.py"]),
        (False, []),
        (True, ["INSTALLER", "README", "b.py", "z.py"]),
    ):
        if changed:
            (top / "z.py").write_text("# other\n")
        hasher.begin(fresh=False)
        known.begin()
        known.faults(top.parent, info.name, walked=walked(top, hasher))
        assert sorted({*reads}) == expected
        reads.clear()


def test_a_record_is_parsed_once_for_as_long_as_it_is_the_same(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = top.parent / "top-1.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("top/__init__.py,,\ntop/a/__init__.py,,\ntop/a/b.py,,\nplain.py,,\n")
    monkeypatch.setattr("trapd.watch.record_file.RACY", 0)
    layouts = Layouts()
    layout = layouts.of(info)
    assert layouts.of(info) is layout
    assert layout.tops(top.parent) == {"top"}
    assert layout.outside(frozenset({"top"})) == ("plain.py",)
    (info / "RECORD").write_text("top/a/__init__.py,,\ntop/z.py,,\n")
    assert layouts.of(info).tops(top.parent) == {"top/a"}
    assert layouts.of(info).outside(frozenset({"top/a"})) == ("top/z.py",)
