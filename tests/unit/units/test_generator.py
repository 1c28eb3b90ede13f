"""What systemd's generator does with folders and files, whole or broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trapd.units import directives
from trapd.units.generator import keep, main, write

GOOD = '[trapd]\nbackend = "systemd"\n[pools.gpu]\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "base.in").write_text("[Service]\nExecStart=/x @pool@ %i\n")
    (tmp_path / "trapd.toml").write_text(GOOD)
    (tmp_path / "normal").mkdir()
    return tmp_path


def generate(place: Path, *more: str) -> int:
    options = ["--config", str(place / "trapd.toml"), "--base", str(place / "base.in")]
    options += ["--kept", str(place / "now"), "--kept", str(place / "kept"), "--running", str(place / "running")]
    return main([*options, *(more or [str(place / name) for name in ("normal", "early", "late")])])


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_the_templates_and_keeps_a_copy(place: Path) -> None:
    assert generate(place) == 0
    assert set(files(place / "normal")) == {"trapd-worker-gpu@.service"}
    assert files(place / "now") == files(place / "kept") == files(place / "normal")


def test_asked_only_to_keep_it_writes_nothing_else(place: Path) -> None:
    assert generate(place, "--keep") == 0
    assert set(files(place / "kept")) == {"trapd-worker-gpu@.service"}
    assert files(place / "normal") == {}


@pytest.mark.parametrize("broken", ["trapd.toml", "base.in"])
def test_from_what_is_broken_it_writes_nothing_and_the_copy_stays(
    place: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(place)
    before = files(place / "kept")
    (place / broken).unlink()
    (place / "again").mkdir()
    assert generate(place, str(place / "again")) == 1
    assert (files(place / "again"), files(place / "kept")) == ({}, before)
    assert str(place / broken) in capsys.readouterr().err


def test_a_copy_that_cannot_be_written_does_not_matter_at_boot(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "kept").write_text("in the way")
    assert generate(place) == 0
    assert set(files(place / "normal")) == set(files(place / "now")) == {"trapd-worker-gpu@.service"}
    assert capsys.readouterr().err == ""
    assert generate(place, "--keep") == 0
    assert "cannot keep a copy of the units" in capsys.readouterr().err


def test_refused_settings_are_told(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directives, "ask", lambda: {"Service": frozenset({"Nice"})})
    (place / "trapd.toml").write_text(GOOD + "[pools.gpu.systemd]\nNice = 1\nNicer = 2\n")
    assert generate(place) == 0
    assert capsys.readouterr().err.startswith("ignored: [pools.gpu.systemd] Nicer: this machine's systemd does not")
    assert "Nice=1\n" in files(place / "normal")["trapd-worker-gpu@.service.d/50-pool.conf"]


def test_the_copy_loses_what_is_not_wanted_any_more(tmp_path: Path) -> None:
    keep({"a.service": "1", "b.service.d/c.conf": "2"}, tmp_path)
    (tmp_path / "stray").write_text("")
    keep({"a.service": "3"}, tmp_path)
    assert files(tmp_path) == {"a.service": "3"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.service"]


def test_a_removed_pool_keeps_its_template_while_a_worker_of_it_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directives, "ask", dict)
    (place / "trapd.toml").write_text(GOOD + "[pools.old.systemd]\nNice = 1\n")
    generate(place)
    (place / "running").mkdir()
    (place / "running/invocation:trapd-worker-old@7-1.service").symlink_to("abc")
    (place / "trapd.toml").write_text(GOOD)
    (place / "kept/trapd-worker-old@.service").write_text("of the boot before")
    for folder in ("normal", "now", "kept"):
        generate(place)
        written = files(place / folder)
        assert {"trapd-worker-old@.service", "trapd-worker-old@.service.d/50-pool.conf"} < set(written)
        assert "[Service]" in written["trapd-worker-old@.service"]
    (place / "running/invocation:trapd-worker-old@7-1.service").unlink()
    generate(place)
    assert set(files(place / "kept")) == {"trapd-worker-gpu@.service"}


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    write({"a": "1"}, tmp_path)
    before = (tmp_path / "a").stat()
    write({"a": "1"}, tmp_path)
    assert (tmp_path / "a").stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o644


def test_it_imports_nothing_that_is_slow_or_foreign() -> None:
    """It runs at boot, while PID 1 waits."""
    script = "import sys, trapd.units.generator; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-IB", "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    ours = ("__editable__", "_distutils", "_virtualenv", "sitecustomize")  # the last: of Debian's Python
    site = {name for name in loaded if name.startswith(ours)}
    assert loaded - site - set(sys.stdlib_module_names) == {"trapd", "__main__"} - set(sys.stdlib_module_names)
    assert not loaded & {"asyncio", "logging", "socket", "sqlite3", "pwd", "grp"}


# --- what systemd knows ---------------------------------------------------------------------------------------------


def fake_systemd(folder: Path, script: str) -> tuple[Path, ...]:
    program = folder / "systemd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return (folder / "not-there", program)


def test_systemd_is_asked_what_it_knows(tmp_path: Path) -> None:
    dump = r"printf '[Unit]\nAfter=UNIT\n\n[Service]\nNice=NICE\n\n[Socket]\nBacklog=N\n'"
    known = directives.ask(fake_systemd(tmp_path, f'[ "$1" = --dump-configuration-items ] && {dump}'))
    assert known == {"Unit": frozenset({"After"}), "Service": frozenset({"Nice"})}


@pytest.mark.parametrize("script", ["exit 1", "exit 0", "echo words"])
def test_a_systemd_that_cannot_say_what_it_knows_is_no_reason_to_refuse_anything(tmp_path: Path, script: str) -> None:
    assert directives.ask(fake_systemd(tmp_path, script)) == {}
    assert directives.ask((tmp_path / "not-there",)) == {}
