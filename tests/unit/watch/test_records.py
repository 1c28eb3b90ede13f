"""RECORDs: what is compared, what it costs, and who is held to it."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest

from tests.support.rights import closed
from tests.support.site_packages import install
from trapd.folders import Files
from trapd.watch import record_file
from trapd.watch import records as module
from trapd.watch.fingerprint import Hasher
from trapd.watch.installers import Installers, Wholeness
from trapd.watch.record_file import read_record
from trapd.watch.records import Fault, Records
from trapd.watch.sites import scan
from trapd.watch.tree import walk
from trapd.watch.walked import Walked

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
    records.end()
    reads.clear()
    look(records, site)
    assert "RECORD" in reads


def test_while_somebody_is_at_work_nothing_is_forgotten(site: Path, reads: list[str]) -> None:
    """Else the look after the end of a pip that had been looked at read the whole environment again."""
    judge, sites = Installers(proc=Path("/nowhere")).judge, scan([str(site)])
    assert not judge([], sites, {"numpy"}, prefix="").reason
    assert "RECORD" in reads
    for _ in range(2):
        (site / "~umpy").mkdir()
        assert judge([], scan([str(site)]), {"numpy"}, prefix="").reason
        (site / "~umpy").rmdir()
        reads.clear()
        assert judge([], scan([str(site)]), {"numpy"}, prefix="") == Wholeness()
        assert reads == []
    (site / INFO).rename(site / "aside")
    judge([], scan([str(site)]), {"numpy"}, prefix="")
    (site / "aside").rename(site / INFO)
    judge([], scan([str(site)]), {"numpy"}, prefix="")
    assert "RECORD" in reads, "it had been uninstalled"


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


@pytest.mark.parametrize(
    "text",
    [
        "a/__init__.py,sha256=x,1\na/b.py,,\nc.py,,\n__init__.py,,\n",
        "a/__init__.py,sha256=x,1\r\na/b/c.py,,\r\na/d.py,,\r\n",  # as pip writes it, one folder in two parts
        '"a,b/__init__.py",,\na/c.py,,\n',
        "../../bin/a,,\n/etc/a,,\na/../b.py,,\n./c/__init__.py,,\nd//e.py,,\nf/./g.py,,\nh/,,\ni/.hidden,,\n",
        "\n\n",
        "a/b.py",
        "a\rb,,\n",
        "a\0/b.py,,\n",
        "\N{LATIN SMALL LETTER E WITH ACUTE}/__init__.py,,\n",
        "",
    ],
)
def test_a_record_is_the_same_by_sections_and_by_lines(tmp_path: Path, text: str) -> None:
    for content in (text.encode(), text.encode("latin-1")):
        (tmp_path / "RECORD").write_bytes(content)
        lines = list(record_file.read_record(tmp_path))
        layout = record_file.Layouts().of(tmp_path)
        folders = {line.path.rpartition("/")[0] for line in lines}
        packages = {f for f, _, n in (line.path.rpartition("/") for line in lines) if n.startswith("__init__.")}
        assert (layout.folders, set(layout.packages)) == (folders, packages - {""})
        parts = record_file.sections(tmp_path)
        assert parts is None or [line for _, part in parts for line in record_file.read_section(part)] == lines


def test_of_a_new_record_only_the_folders_that_changed_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"a/__init__.py": "", "a/b.py": "b = 1\n", "a/c/__init__.py": "", "a/c/d.py": "d = 1\n"}
    for name, content in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    info = tmp_path / "a-1.dist-info"
    info.mkdir()

    def record(**told: str) -> None:
        lines = [f"{name},{line(told.get(name, content))}" for name, content in texts.items()]
        (info / "RECORD").write_text("\n".join(lines) + "\n")

    def line(content: str) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        return f"sha256={digest},{len(content)}"

    compared = list[bytes]()
    read = record_file.read_section

    def note(lines: bytes) -> object:
        compared.append(lines)
        return read(lines)

    monkeypatch.setattr(module, "read_section", note)
    known, hasher = Records(), Hasher(racy=0)

    def faults() -> list[str]:
        known.begin()
        hasher.begin(fresh=False)
        compared.clear()
        walked = Walked(Files(tuple(walk(tmp_path / "a", "a", compiled=False).files)), hasher)
        return [fault.path for fault in known.faults(tmp_path, info.name, walked=walked) or ()]

    record()
    assert faults() == []
    assert len(compared) == 2
    texts["a/c/d.py"] = "d = 22\n"
    (tmp_path / "a/c/d.py").write_text(texts["a/c/d.py"])
    record()
    assert (faults(), len(compared)) == ([], 1)
    record(**{"a/b.py": "b = 333\n"})
    assert (faults(), len(compared)) == (["a/b.py"], 1)
    (tmp_path / "a/c/d.py").write_text("another\n")
    assert (faults(), len(compared)) == (["a/b.py", "a/c/d.py"], 2)
