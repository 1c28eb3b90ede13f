"""What a worker uses of the machine, and its generation does not hold."""

from __future__ import annotations

from pathlib import Path

from trapd.worker.live import live


def test_programs_and_data_of_a_copied_environment_are_those_that_are_installed(tmp_path: Path) -> None:
    for folder in ("venv/bin", "venv/share"):
        (tmp_path / folder).mkdir(parents=True)
    folders = live(str(tmp_path / "generations/7"), str(tmp_path / "venv"))["folders"]
    assert {f"{tmp_path}/venv/bin", f"{tmp_path}/venv/share"} <= set(folders)
