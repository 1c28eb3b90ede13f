"""S1, S4 and S8 under SIGKILL and on a full disk: a child that makes, copies or removes a snapshot, or links ahead, is
killed, or finds no room any more, at chosen system calls."""

from __future__ import annotations

import asyncio
import hashlib
import py_compile
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import maker_in_process
from tests.support.builders import application
from trapd.content import Environment
from trapd.generations import table
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, Generation, TreeFile

# For each line of its input: an instant and a directory. It forks; the fork counts its own audit events of files (every
# open, mkdir, chmod, rename, link, ... is one) and kills itself at that event; or, with "full", from that event on
# nothing new can be made. It answers with how that ended and how many events there were.
CHILD = """
import errno, os, signal, sys
from tests.support import maker_in_process
from tests.process.test_snapshot_sigkill import operate, store_in
from trapd.errors import SnapshotError
from trapd.generations import short_lived
_, operation, source, fault = sys.argv
short_lived.run = maker_in_process.run
NEW = {"os.mkdir", "os.link", "os.symlink"}
for line in sys.stdin:
    fatal, directory = int(line.split()[0]), line.split()[1]
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        store, seen = store_in(directory), 0

        def watch(event, arguments):
            global seen
            if event == "open" or event.startswith(("os.", "shutil.", "fcntl.")):
                seen += 1
                if seen == fatal and fault == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                new = event in NEW or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT)
                if fatal and seen >= fatal and fault == "full" and new:
                    raise OSError(errno.ENOSPC, "No space left on device", arguments[0])

        sys.addaudithook(watch)
        try:
            operate(operation, store, source)
        except SnapshotError as error:
            assert "no space left on device" in str(error)
        os.write(writing, str(seen).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        print(answer.read() or 0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
PARTS = [0.0, 0.02, 0.2, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995, 1.0]  # of all events; dense at the end


SITE = "/lib/python3.11/site-packages/"


def store_in(directory: str | Path) -> SnapshotStore:
    """In a state directory."""
    (generations := Path(directory, "generations")).mkdir(parents=True, exist_ok=True)
    return SnapshotStore(generations)


def generation(number: int) -> Generation:
    return Generation(number, "f1", {"trap": "1.0"}, {}, "a test", "tests", 0.0)


def disk_at(source: str | Path) -> Disk:
    """What is installed: in ``code``, or in an environment if there is one."""
    files = [path for path in sorted(Path(source).rglob("*")) if path.is_file()]
    found = [TreeFile(f"{path.relative_to(source)}", str(path), _digest(path)) for path in files]
    disk = Disk(DiskState.SETTLED, fingerprint="f1", versions={"trap": "1.0"}, files=tuple(found))
    if not (venv := Path(source, "venv")).is_dir():
        return disk
    watched = [replace(file, path=f"code/{file.path.partition(SITE)[2]}") for file in found if "/trap/" in file.path]
    site = SITE.strip("/")
    environment = Environment(str(venv), "python", {site: str(venv / site)}, site=site)
    config = [file for file in found if file.path.startswith("etc/")]
    return replace(disk, files=(*watched, *config), environment=environment)


def _digest(path: Path) -> str:
    return "" if path.suffix == ".pyc" else hashlib.sha256(path.read_bytes()).hexdigest()


def operate(operation: str, store: SnapshotStore, source: str | Path, number: int = 8) -> None:
    match operation:
        case "make":
            asyncio.run(store.make(generation(number), disk_at(source), [], application(python=sys.executable)))
        case "copy":
            asyncio.run(store.copy(generation(8), 7, []))
        case "remove":
            asyncio.run(store.remove(7))
        case "compile":
            asyncio.run(store.compile(7))
        case "link ahead":
            asyncio.run(store.link_ahead())


class Child:
    """The process that forks those that die."""

    def __init__(self, operation: str, source: Path, fault: str) -> None:
        command = [sys.executable, "-c", CHILD, operation, str(source), fault]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, directory: Path, fatal: int) -> tuple[int, int]:
        """How many events there were, and how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(fatal, directory, file=self._process.stdin, flush=True)
        seen, status = self._process.stdout.readline().split()
        return int(seen), int(status)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=10)


def content(folder: Path) -> dict[str, bytes]:
    """Of each file; of a link, where it leads."""
    links = {path: bytes(path.readlink()) for path in folder.rglob("*") if path.is_symlink()}
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    return {str(path.relative_to(folder)): text for path, text in {**links, **files}.items()}


def installation(folder: Path, *, changed: int, environment: bool) -> Path:
    """Modules, of which as many have another content; some are compiled."""
    packages = folder / ("venv" + SITE if environment else "code")
    (packages / "trap").mkdir(parents=True)
    (folder / "etc").mkdir()
    (folder / "etc/celeryconfig.py").write_text("x = 1\n")
    if environment:
        (folder / "venv/bin").mkdir()
        (folder / "venv/bin/python").symlink_to(sys.executable)
        (folder / "venv/pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
        (packages / "other.py").write_text("x = 1\n" * (changed + 1))
        (packages / "alias").symlink_to("trap")
    for number in range(20):
        module = packages / f"trap/m{number}.py"
        module.write_text(f"x = {number * (1000 if number < changed else 1)}\n" * 100)
        if number % 2:
            py_compile.compile(str(module), doraise=True)
    return folder


@pytest.fixture
def source(tmp_path: Path, environment: bool) -> Path:
    return installation(tmp_path / "installed", changed=0, environment=environment)


@pytest.fixture
def earlier(tmp_path: Path, environment: bool) -> Path:
    return installation(tmp_path / "earlier", changed=10, environment=environment)


@pytest.mark.parametrize("environment", [True])
@pytest.mark.parametrize("operation", ["link ahead", "make"])
def test_links_made_ahead_are_whole_or_not_used(
    tmp_path: Path, source: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who makes them is killed, or one who takes them over: the next generation is as it would be without them."""
    maker_in_process.use(monkeypatch)  # what nobody kills
    operate("make", store_in(tmp_path / "whole"), source, 7)
    expected = content(tmp_path / "whole/generations/7")

    def directory(name: str) -> Path:
        operate("make", store_in(tmp_path / name), source, 7)
        if operation == "make":
            operate("link ahead", store_in(tmp_path / name), source)
        return tmp_path / name

    with Child(operation, source, "killed") as child:
        total, _ = child.run(directory("all"), 0)
        assert total > 10
        for part in PARTS[::2]:
            where = directory(f"killed-at-{part}")
            assert child.run(where, max(1, round(part * total)))[1] == -9
            store = store_in(where)
            assert store.present() in ({7}, {7, 8})
            if store.present() == {7}:
                operate("make", store, source)
            operate("link ahead", store, source)
            operate("make", store, source, 9)
            assert {path.name for path in store.directory.iterdir()} == {"7", "8", "9"}
            for number in (7, 8, 9):
                found = content(store.directory / str(number))
                assert {path for path in expected.keys() | found if expected.get(path) != found.get(path)} <= {
                    "files.jsonl",
                    "manifest.json",
                }
            assert_objects_are_what_their_names_say(where / "store")


@pytest.mark.parametrize("environment", [True, False])
def test_one_who_is_killed_while_it_compiles_leaves_nothing_that_the_next_does_not_put_right(
    tmp_path: Path, source: Path, environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S7: each compiled file is in the table, and each folder closed, however far the one before had come."""
    maker_in_process.use(monkeypatch)  # what nobody kills

    def directory(name: str) -> Path:
        operate("make", store_in(tmp_path / name), source, 7)
        return tmp_path / name

    operate("compile", store_in(directory("whole")), source)
    whole = tmp_path / "whole/generations/7"
    expected, listed = content(whole), {entry.path for entry in table.read(whole)}
    site = f"env{SITE}" if environment else "code/"
    assert {path.startswith(f"{site}trap/__pycache__/m2.") for path in listed} == {True, False}

    with Child("compile", source, "killed") as child:
        total, status = child.run(directory("all"), 0)
        assert (total > 10, status) == (True, 0)
        for part in PARTS:
            where = directory(f"killed-at-{part}")
            assert child.run(where, max(1, round(part * total)))[1] == -9
            store = store_in(where)
            assert store.present() == {7}
            operate("compile", store, source)
            folder = store.directory / "7"
            found = content(folder)
            assert {path for path in expected.keys() | found if expected.get(path) != found.get(path)} <= {
                "files.jsonl"
            }
            assert {entry.path for entry in table.read(folder)} == listed
            folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
            assert [path for path in folders if path.stat().st_mode & 0o222] == []
            assert_objects_are_what_their_names_say(where / "store")


def assert_objects_are_what_their_names_say(store: Path) -> None:
    for path in store.rglob("*"):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert (path.parent.name + path.name).startswith(digest)
            assert path.stat().st_nlink > 1, "one that no snapshot has is swept"


@pytest.mark.parametrize(
    ("operation", "fault", "environment"),
    [
        ("make", "killed", True),
        ("copy", "killed", True),
        ("remove", "killed", True),
        ("make", "full", True),
        ("copy", "full", False),
        ("make", "killed", False),
        ("copy", "killed", False),
    ],
)
def test_one_who_is_interrupted_leaves_a_whole_snapshot_or_none(
    tmp_path: Path, source: Path, earlier: Path, operation: str, fault: str, environment: bool
) -> None:
    whole = store_in(tmp_path / "whole")
    operate("make", whole, earlier, 7)
    operate("copy" if operation == "copy" else "make", whole, source)
    expected = {number: content(tmp_path / f"whole/generations/{number}") for number in (7, 8)}
    more = {f"env{SITE}trap/m0.py", "env/bin/python", "code/trap"} if environment else {"code/trap/m0.py"}
    assert expected[7].keys() == expected[8].keys() > {*more, "etc/celeryconfig.py"}

    def directory(name: str) -> Path:
        operate("make", store_in(tmp_path / name), earlier, 7)
        return tmp_path / name

    ends = set()
    with Child(operation, source, fault) as child:
        total, status = child.run(directory("all"), 0)
        assert (total > 10, status) == (True, 0)
        for part in PARTS:
            where = directory(f"{fault}-at-{part}")
            assert child.run(where, max(1, round(part * total)))[1] == (-9 if fault == "killed" else 0)
            names = {path.name for path in (where / "generations").iterdir()}
            assert fault == "killed" or names <= {"7", "8"}, "what is left over is gone without another start"
            present = store_in(where).present()
            for number in present:
                found = content(where / "generations" / str(number))
                assert found.keys() == expected[number].keys()
                differing = {path for path, text in found.items() if text != expected[number][path]}
                assert differing <= {"files.jsonl"}, "which says how long it took"
            names = {path.name for path in (where / "generations").iterdir()}
            assert names == {str(number) for number in present}, "leftovers are swept"
            assert_objects_are_what_their_names_say(where / "store")
            ends.add(present)
    if operation == "remove":
        assert ends == {frozenset({7}), frozenset()}
    else:
        assert all(present >= {7} for present in ends)
        assert frozenset({7}) in ends
