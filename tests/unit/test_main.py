"""What the daemon does before it runs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from trapd.__main__ import main, only_one
from trapd.errors import TrapdError
from trapd.units import running


@pytest.mark.parametrize(("state", "runtime", "taken"), [("a", "c", "a"), ("c", "b", "b"), ("a", "b", "a")])
def test_two_trapds_cannot_share_a_directory(tmp_path: Path, state: str, runtime: str, taken: str) -> None:
    """The second once took the notify sockets from the workers of the first, and then found that it may not run."""
    with only_one(tmp_path / "a", tmp_path / "b"):
        words = f"cannot start: another trapd uses {tmp_path}/{taken}; stop it, or set another"
        with pytest.raises(TrapdError, match=words), only_one(tmp_path / state, tmp_path / runtime):
            pass
        with only_one(tmp_path / "c", tmp_path / "d"):
            pass
    with only_one(tmp_path / "a", tmp_path / "b"):
        pass


def test_both_directories_may_be_one(tmp_path: Path) -> None:
    with only_one(tmp_path / "a", tmp_path / "a"):
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o700 == 0o700


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TrapdError, match=r"cannot use .*file/state: Not a directory; see \[trapd\] in trapd.toml"),
        only_one(tmp_path / "file/state", tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize(("text", "status"), [("[pools.default]\n", 0), ("[pools.default]\nworkers = 'two'\n", 78)])
def test_a_configuration_can_be_checked_without_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, status: int
) -> None:
    file = tmp_path / "trapd.toml"
    file.write_text(text)
    assert main(["--config", str(file), "--check"]) == status
    assert capsys.readouterr().err.startswith(f"trapd: {file}:2: pools.default.workers: cannot" if status else "")


def test_a_start_that_its_configuration_prevents_tells_that_workers_run_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("default@7-1", "gpu@7-1"):
        (tmp_path / f"invocation:trapd-worker-{name}.service").touch()
    (tmp_path / "invocation:trapd-boot.service").touch()
    monkeypatch.setattr(running.workers, "__defaults__", (tmp_path,))
    assert main(["--config", str(tmp_path / "none.toml")]) == 78
    assert "trapd: 2 workers run on; correct the file, then start trapd again" in capsys.readouterr().err
