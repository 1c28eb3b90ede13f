"""What `trapctl logs` turns into."""

from __future__ import annotations

import os
from pathlib import Path

from trapd.ctl.logs import file_command, journal_command, log_files


def test_the_journal_is_asked_by_the_fields_that_trapd_and_workers_share() -> None:
    plain = {"follow": False, "since": None, "as_json": False}
    assert journal_command("gpu", **plain)[-1] == "POOL=gpu"
    assert journal_command("gpu@7-1", **plain)[-1] == "INSTANCE=gpu@7-1"
    assert journal_command(None, **plain)[-2:] == ["--unit=trapd.service", "--unit=trapd-worker-*@*.service"]
    command = journal_command("gpu", follow=True, since="10 min ago", as_json=True)
    assert {"--follow", "--since=10 min ago", "--output=json"} <= set(command)
    assert "--lines=100" not in command


def test_files_are_found_by_pool_and_instance_oldest_first(tmp_path: Path) -> None:
    for age, name in enumerate(("gpu@2-1", "gpu@1-1", "gpu_small@1-1")):
        file = tmp_path / f"{name}.log"
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    assert [f.stem for f in log_files(tmp_path, "gpu")] == ["gpu@1-1", "gpu@2-1"]
    assert [f.stem for f in log_files(tmp_path, "gpu@2-1")] == ["gpu@2-1"]
    assert [f.stem for f in log_files(tmp_path, None)] == ["gpu_small@1-1", "gpu@1-1", "gpu@2-1"]
    assert "--follow=name" in file_command([tmp_path], follow=True)
    assert "--follow=name" not in file_command([tmp_path], follow=False)
