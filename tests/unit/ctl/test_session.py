"""Which trapd is asked when the configuration cannot be used: then its state is needed most."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.ctl.session import Session
from trapd.errors import SettingsError


def session(folder: Path, text: str) -> Session:
    (folder / "trapd.toml").write_text(text)
    return Session(str(folder / "trapd.toml"), None, {})


@pytest.mark.parametrize("broken", ["[pools\n", "nonsense = 1\n"])
def test_the_trapd_of_a_broken_file_is_asked_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    (tmp_path / "control.sock").touch()
    text = f'[trapd]\nruntime_directory = "{tmp_path}"\n{broken}'
    assert session(tmp_path, text).socket == tmp_path / "control.sock"
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"trapctl: {tmp_path}/trapd.toml")
    assert "asking the trapd that runs all the same" in complaint


def test_without_a_trapd_the_file_is_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        _ = session(tmp_path, f'[trapd]\nruntime_directory = "{tmp_path}"\n[pools\n').socket


def test_nobody_is_asked_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        _ = Session(str(tmp_path / "absent.toml"), None, {}).socket
