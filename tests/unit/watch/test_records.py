"""RECORDs: what is compared, what it costs, and who is held to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.rights import closed
from tests.support.site_packages import install
from trapd.watch import records as module
from trapd.watch.record_file import read_record
from trapd.watch.records import Fault, Records

FILES = {"numpy/__init__.py": "x = 1\n", "numpy/core.py": "y = 2\n", "numpy/notes.txt": "z"}
INFO = "numpy-2.0.dist-info"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site-packages"
    install(site, "numpy", "2.0", FILES)
    return site


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read to compare their content, and RECORDs that were parsed."""
    reads: list[str] = []
    digest = module._digest

    def note_digest(file: Path) -> str:
        reads.append(file.name)
        return digest(file)

    def note_record(info: Path) -> object:
        reads.append("RECORD")
        return read_record(info)

    monkeypatch.setattr(module, "_digest", note_digest)
    monkeypatch.setattr(module, "read_record", note_record)
    monkeypatch.setattr(module, "RACY", 0)
    return reads


def look(records: Records, site: Path, *, fresh: bool = False) -> tuple[Fault, ...] | None:
    records.begin()
    return records.faults(site, INFO, fresh=fresh)


def test_a_second_look_reads_nothing_and_one_after_a_change_reads_only_that_distribution(
    site: Path, reads: list[str]
) -> None:
    records = Records()
    assert look(records, site) == ()
    assert {"core.py", "RECORD"} < set(reads)
    reads.clear()
    assert look(records, site) == ()
    assert reads == []
    (site / "numpy/core.py").write_text("y = 3\n")
    assert look(records, site) == (Fault("numpy/core.py", "has another content than was installed"),)
    assert "__init__.py" in reads
    reads.clear()
    assert look(records, site) == (Fault("numpy/core.py", "has another content than was installed"),)
    assert reads == [], "a fault is remembered as well"
    assert look(records, site, fresh=True) is not None
    assert "core.py" in reads


def test_a_file_that_was_written_a_moment_ago_is_read_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the clock's resolution another content can have the same times."""
    records = Records()
    monkeypatch.setattr(module, "RACY", 3600 * 10**9)
    assert look(records, site) == ()
    before = (site / "numpy/core.py").stat()
    (site / "numpy/core.py").write_text("y = 3\n")
    os.utime(site / "numpy/core.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look(records, site) != ()


def test_what_was_not_asked_for_in_a_look_is_forgotten(site: Path, reads: list[str]) -> None:
    records = Records()
    look(records, site)
    records.begin()
    records.begin()
    reads.clear()
    look(records, site)
    assert "RECORD" in reads


@pytest.mark.parametrize("installer", ["conda", "somebody 2.0"])
def test_an_installer_nobody_knows_is_held_to_a_record_that_was_true_once(site: Path, installer: str) -> None:
    install(site, "numpy", "2.0", FILES, installer=installer)
    records = Records()
    assert look(records, site) == ()
    (site / "numpy/core.py").write_text("")
    assert look(records, site) == (Fault("numpy/core.py", "has 0 bytes, not 6 as installed"),)


def test_an_installer_nobody_knows_is_not_held_to_a_record_that_never_was_true(site: Path) -> None:
    install(site, "numpy", "2.0", FILES, installer="somebody 2.0")
    records = Records()
    (site / "numpy/core.py").write_text("")
    assert look(records, site) == ()
    (site / "numpy/core.py").unlink()
    assert look(records, site) == (Fault("numpy/core.py", "is missing"),)


def test_no_record_is_no_list_of_faults(site: Path) -> None:
    (site / INFO / "RECORD").write_text("")
    assert look(Records(), site) is None
    (site / INFO / "RECORD").unlink()
    assert look(Records(), site) is None


@pytest.mark.parametrize("installer", ["pip", "somebody 2.0"])
@pytest.mark.parametrize("name", ["numpy/core.py", "numpy/notes.txt", f"{INFO}/METADATA", "numpy"])
def test_a_file_that_cannot_be_read_is_a_fault_for_as_long_as_it_is_so(site: Path, name: str, installer: str) -> None:
    install(site, "numpy", "2.0", FILES, installer=installer)
    records = Records()
    with closed(site / name):
        for _ in range(2):
            faults = look(records, site)
            assert faults
            assert all(fault.unreadable and fault.path.startswith(name) for fault in faults)
    assert look(records, site) == ()


def test_nor_does_one_without_a_digest_escape(site: Path) -> None:
    record = site / INFO / "RECORD"
    record.write_text(record.read_text() + "numpy/made.py,,\n")
    (site / "numpy/made.py").touch()
    with closed(site / "numpy/made.py"):
        (fault,) = look(Records(), site) or ()
    assert (fault.path, fault.unreadable) == ("numpy/made.py", True)
    assert look(Records(), site) == ()
