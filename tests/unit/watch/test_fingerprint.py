"""The digest of what would run, and how little is read for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trapd.watch.fingerprint import Hasher, Stamp, earlier_fingerprint, read

DIGESTS = [("code/a.py", "11"), ("code/b.py", "22")]
VERSIONS = {"trap": "1.3.0", "numpy": "2.0"}
BASE = earlier_fingerprint(DIGESTS, VERSIONS, "config", "python")


def test_the_order_in_which_versions_are_found_does_not_matter() -> None:
    assert earlier_fingerprint(DIGESTS, dict(reversed(VERSIONS.items())), "config", "python") == BASE


@pytest.mark.parametrize(
    "other",
    [
        earlier_fingerprint([("code/a.py", "11"), ("code/b.py", "33")], VERSIONS, "config", "python"),
        earlier_fingerprint([("code/a.py", "11"), ("code/c.py", "22")], VERSIONS, "config", "python"),
        earlier_fingerprint(DIGESTS[:1], VERSIONS, "config", "python"),
        earlier_fingerprint(DIGESTS, {**VERSIONS, "numpy": "2.1"}, "config", "python"),
        earlier_fingerprint(DIGESTS, {"trap": "1.3.0"}, "config", "python"),
        earlier_fingerprint(DIGESTS, VERSIONS, "other", "python"),
        earlier_fingerprint(DIGESTS, VERSIONS, "config", "other"),
    ],
    ids=["content", "name", "fewer files", "dependency", "fewer dependencies", "celeryconfig", "interpreter"],
)
def test_everything_that_would_run_counts(other: str) -> None:
    assert other != BASE


class Reads:
    """Counts what is read, and takes every file for one that was written long ago, or just now."""

    def __init__(self, *, racy: bool = False) -> None:
        self.paths: list[Path] = []
        self._racy = racy

    def __call__(self, path: Path) -> Stamp:
        self.paths.append(path)
        return replace(read(path), racy=self._racy)


def test_a_file_that_looks_unchanged_is_not_read_again_until_a_fresh_look(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one")
    reads = Reads()
    hasher = Hasher(reads)
    for fresh, expected in ((False, 1), (False, 1), (True, 2), (False, 2)):
        hasher.begin(fresh=fresh)
        assert hasher.stamp(str(file)).digest == hashlib.sha256(b"one").hexdigest()
        assert hasher.stamp(str(file)).size == 3
        assert len(reads.paths) == expected


def test_a_file_changed_behind_its_old_times_and_size_is_read_again(tmp_path: Path) -> None:
    """Its change time, which nobody can set, tells."""
    file = tmp_path / "a.py"
    file.write_text("one")
    hasher, stat = Hasher(Reads()), file.stat()
    hasher.begin(fresh=False)
    first = hasher.stamp(str(file))
    file.write_text("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    hasher.begin(fresh=False)
    assert hasher.stamp(str(file)).digest != first.digest


def test_a_file_read_within_the_clocks_resolution_of_its_change_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one")
    assert read(file).racy
    reads = Reads(racy=True)
    hasher = Hasher(reads)
    for count in (1, 2):
        hasher.begin(fresh=False)
        hasher.stamp(str(file))
        hasher.stamp(str(file))
        assert len(reads.paths) == count, "once in each look"


def test_what_a_whole_look_did_not_ask_for_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one")
    reads = Reads()
    hasher = Hasher(reads)
    hasher.stamp(str(file))
    hasher.begin(fresh=False)  # and it breaks off
    hasher.begin(fresh=False)
    hasher.stamp(str(file))
    assert len(reads.paths) == 1
    hasher.begin(fresh=False)
    hasher.end()
    hasher.begin(fresh=False)
    hasher.stamp(str(file))
    assert len(reads.paths) == 2


def test_a_file_that_is_gone_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Hasher().stamp(str(tmp_path / "gone"))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_an_error_and_nothing_to_wait_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Opening a pipe waits for ever for somebody who writes into it: no look would come to its end any more."""
    make(tmp_path / "module.py")
    with pytest.raises(OSError, match=r"(Not a regular file|Is a directory)") as error:
        read(tmp_path / "module.py")
    assert str(error.value.filename) == str(tmp_path / "module.py")
