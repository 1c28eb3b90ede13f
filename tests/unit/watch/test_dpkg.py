"""dpkg's database: which package is in which state, and whose files it owns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.site_packages import install
from trapd.watch.dpkg import Dpkg
from trapd.watch.sites import scan


class Database:
    """Of a dpkg with one package that owns a distribution, and of many others."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder, self.site = root, root / "var/lib/dpkg", root / "opt/trap/site-packages"
        for name in ("info", "updates"):
            (self.folder / name).mkdir(parents=True)
        install(self.site, "trap", "1.0", {"trap/__init__.py": ""})
        self.dpkg = Dpkg(root)
        self.state("installed")
        self.owns("trap", "/opt/trap/site-packages/trap-1.0.dist-info/METADATA")

    def state(self, state: str, *, update: int | None = None) -> None:
        text = (
            f"Package: other\nStatus: install ok half-configured\n\nPackage: trap\nStatus: install ok {state}\nX: y\n"
        )
        file = self.folder / "status" if update is None else self.folder / f"updates/{update:04}"
        file.write_text(text)

    def owns(self, package: str, *files: str) -> None:
        (self.folder / f"info/{package}.list").write_text("\n".join(["/.", "/opt", *files]) + "\n")

    def reasons(self, needed: str = "trap", proc: Path = Path("/proc")) -> list[str]:
        return list(self.dpkg.unfinished(scan([str(self.site)]), {needed}, of_system=False, proc=proc))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("half-installed", "apt-get install trap"),
        ("unpacked", "dpkg --configure --pending"),
        ("half-configured", "dpkg --configure --pending"),
    ],
)
def test_a_package_that_dpkg_has_not_finished(database: Database, state: str, remedy: str) -> None:
    assert database.reasons() == []
    database.state(state)
    assert database.reasons() == [f"dpkg has not finished the package trap, which is {state}; run {remedy}"]
    assert database.reasons("numpy") == [], "this one it does not own"
    database.state("installed", update=7)
    assert database.reasons() == [], "the state of now is what dpkg has written last"


@pytest.mark.parametrize("state", ["installed", "config-files", "triggers-pending", "not-installed"])
def test_other_states_say_nothing_of_files(database: Database, state: str) -> None:
    database.state(state)
    assert database.reasons() == []


def test_a_distribution_without_metadata_is_known_by_its_module(database: Database) -> None:
    database.state("unpacked")
    database.owns("trap", "/opt/trap/site-packages/Trap.py")
    assert len(database.reasons()) == 1
    database.owns("trap", "/opt/trap/site-packages/trapping/trap.py")
    assert database.reasons() == []


def test_a_package_of_an_architecture_has_it_in_its_lists_name(database: Database) -> None:
    database.state("unpacked")
    (database.folder / "info/trap.list").rename(database.folder / "info/trap:amd64.list")
    assert len(database.reasons()) == 1


def test_where_there_is_no_dpkg_nothing_is_said(tmp_path: Path) -> None:
    assert list(Dpkg(tmp_path).unfinished([], {"trap"}, of_system=True, proc=Path("/proc"))) == []


def test_a_lock_counts_for_what_a_packages_script_installs_with_pip(database: Database, tmp_path: Path) -> None:
    """apt 100 runs dpkg 101, whose child, the postinst 102, runs pip 103; pip 200 is of somebody else."""
    proc = tmp_path / "proc"
    for process, parent in ((100, 1), (101, 100), (102, 101), (103, 102), (200, 1)):
        (proc / str(process)).mkdir(parents=True)
        (proc / str(process) / "stat").write_text(f"{process} (a (b) c) S {parent} 1 1 0")
    (proc / "self").mkdir()
    (proc / "self/mountinfo").touch()
    lock = database.folder / "lock-frontend"
    lock.touch()
    found = lock.stat()
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    held = f"1: POSIX  ADVISORY  WRITE 100 {device}:{found.st_ino} 0 EOF\n"
    (proc / "locks").write_text(held)
    database.owns("trap")
    database.dpkg.started(200, proc)
    assert database.reasons(proc=proc) == [], "an apt that waits at a question holds up no other environment"
    database.dpkg.started(103, proc)
    told = ["a package installation is going on (process 100 holds dpkg's lock)"]
    assert database.reasons(proc=proc) == told
    (proc / "103/stat").unlink()
    assert database.reasons(proc=proc) == told, "though that pip has ended: the script may run another"
    (proc / "locks").write_text("")
    assert database.reasons(proc=proc) == []
    (proc / "locks").write_text(held)
    assert database.reasons(proc=proc) == [], "the next apt is another"
