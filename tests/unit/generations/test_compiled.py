"""Compiled files of a generation are valid however old their source looks, and only if they are of that source."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rights import closed
from tests.unit.generations.test_snapshot import APPLICATION, generation
from trapd.generations.compiled import source_of, unchecked
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Disk, DiskState, TreeFile

MODE = py_compile.PycInvalidationMode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "installed/trap.py"
    path.parent.mkdir()
    path.write_text("x = 1\n")
    return path


def compile_it(source: Path, mode: MODE = MODE.TIMESTAMP, optimize: int = 0) -> Path:
    made = py_compile.compile(str(source), doraise=True, invalidation_mode=mode, optimize=optimize)
    assert made is not None
    return Path(made)


def convert(source: Path, compiled: Path) -> bytes | None:
    return unchecked(str(source), str(compiled), hashlib.sha256(source.read_bytes()).hexdigest())


@pytest.mark.parametrize("mode", MODE)
def test_what_is_valid_becomes_valid_for_ever_and_is_the_same_code(source: Path, mode: MODE) -> None:
    compiled = compile_it(source, mode)
    before = compiled.read_bytes()
    code = convert(source, compiled)
    assert code is not None
    assert code[:4] == importlib.util.MAGIC_NUMBER
    assert code[4:8] == b"\1\0\0\0"
    assert code[8:16] == importlib.util.source_hash(source.read_bytes())
    assert code[16:] == before[16:]


@pytest.mark.parametrize("mode", [MODE.TIMESTAMP, MODE.CHECKED_HASH])
def test_what_is_of_another_source_is_left_out(source: Path, mode: MODE) -> None:
    compiled = compile_it(source, mode)
    source.write_text("x = 22\n")
    assert convert(source, compiled) is None


def test_a_source_that_was_written_in_the_same_second_and_is_as_long_is_another(source: Path) -> None:
    """Python itself would not see that: it compares whole seconds."""
    os.utime(source, ns=(1_700_000_000_100_000_000,) * 2)
    compiled = compile_it(source)
    os.utime(compiled, ns=(1_700_000_000_200_000_000,) * 2)
    assert convert(source, compiled) is not None
    source.write_text("x = 2\n")
    os.utime(source, ns=(1_700_000_000_300_000_000,) * 2)
    assert convert(source, compiled) is None


def test_a_source_that_is_not_what_was_looked_at_has_no_compiled_file(source: Path) -> None:
    assert unchecked(str(source), str(compile_it(source)), "0" * 64) is None


@pytest.mark.parametrize("content", [b"", b"no code", b"\0" * 16])
def test_what_is_no_compiled_file_is_left_out(source: Path, content: bytes) -> None:
    compiled = compile_it(source)
    compiled.write_bytes(content)
    assert convert(source, compiled) is None


def test_names_that_python_gives_tell_their_source() -> None:
    assert source_of("code/trap/__pycache__/run.cpython-311.pyc") == "code/trap/run.py"
    assert source_of("code/trap/__pycache__/run.cpython-311.opt-2.pyc") == "code/trap/run.py"
    assert source_of("code/trap/run.pyc") == ""
    assert source_of("code/trap/run.py") == ""


# --- in a generation --------------------------------------------------------------------------------------------------


def disk_of(source: Path) -> Disk:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    caches = sorted((source.parent / "__pycache__").glob("*.pyc"))
    files = [TreeFile("code/trap.py", str(source), digest)]
    files += [TreeFile(f"code/__pycache__/{path.name}", str(path), "") for path in caches]
    return Disk(DiskState.SETTLED, fingerprint="f1", versions={"trap": "1"}, files=tuple(files))


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    (tmp_path / "generations").mkdir()
    return SnapshotStore(tmp_path / "generations")


def make(store: SnapshotStore, source: Path, number: int) -> Path:
    asyncio.run(store.make(generation(number), disk_of(source), [], APPLICATION))
    return store.directory / str(number) / "code"


@pytest.mark.parametrize("optimize", [0, 1, 2])
def test_a_start_compiles_nothing_whatever_the_installed_file_was_touched_to(
    store: SnapshotStore, source: Path, optimize: int
) -> None:
    for number, when in ((1, 1_600_000_000), (2, 1_700_000_000)):
        os.utime(source, (when, when))
        compile_it(source, optimize=optimize)
        code = make(store, source, number)
        flags = ["-O"] * optimize
        verbose = subprocess.run(
            [sys.executable, "-v", *flags, "-S", "-c", "import trap"],
            env={"PYTHONPATH": str(code)},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        assert f"matches {code}/trap.py" in verbose
        assert "bytecode is stale" not in verbose


def test_one_that_is_made_again_of_the_same_source_is_taken_over(store: SnapshotStore, source: Path) -> None:
    """What Python writes differs now and then, for the same source (python/cpython#73894); going back adds nothing."""
    name = f"__pycache__/trap.{sys.implementation.cache_tag}.pyc"
    made = compile_it(source)
    first = make(store, source, 1)
    source.write_text("x = 2\n")
    compile_it(source)
    make(store, source, 2)
    source.write_text("x = 1\n")
    made = compile_it(source)
    made.write_bytes(made.read_bytes() + b"\0")
    third = make(store, source, 3)
    assert (third / name).samefile(first / name)


def test_one_that_is_not_installed_any_more_is_taken_over(store: SnapshotStore, source: Path) -> None:
    name = f"__pycache__/trap.{sys.implementation.cache_tag}.pyc"
    made = compile_it(source)
    first = make(store, source, 1)
    made.unlink()
    assert (make(store, source, 2) / name).samefile(first / name)
    source.write_text("x = 2\n")
    assert not (make(store, source, 3) / name).exists()


def test_a_compiled_secret_is_one_too(store: SnapshotStore, source: Path) -> None:
    made = compile_it(source)
    source.chmod(0o600)
    made.chmod(0o600)
    code = make(store, source, 1)
    assert (code / "__pycache__" / made.name).stat().st_mode & 0o777 == 0o440
    source.chmod(0o644)
    made.chmod(0o644)
    assert (make(store, source, 2) / "__pycache__" / made.name).stat().st_mode & 0o777 == 0o444


def test_one_that_cannot_be_read_is_made_anew(store: SnapshotStore, source: Path) -> None:
    """As of root's, who ran Python with a umask of 077: no worker needs it."""
    name = compile_it(source).name
    with closed(source.parent / "__pycache__" / name):
        code = make(store, source, 1)
    assert (code / "trap.py").exists()
    assert not (code / "__pycache__" / name).exists()
