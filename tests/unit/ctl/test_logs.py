"""What `trapctl logs` turns into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trapd.ctl.logs import Wish, file_command, journal_command, log_files, refuse_unknown
from trapd.errors import UsageError
from trapd.settings import load


def test_the_journal_is_asked_by_the_fields_that_trapd_and_workers_share() -> None:
    assert journal_command("gpu", Wish())[-1] == "POOL=gpu"
    assert journal_command("gpu@7-1", Wish())[-1] == "INSTANCE=gpu@7-1"
    assert journal_command(None, Wish())[-2:] == ["--unit=trapd.service", "--unit=trapd-worker-*@*.service"]
    command = journal_command("gpu", Wish(follow=True, since="10 min ago", as_json=True))
    assert {"--follow", "--since=10 min ago", "--output=json"} <= set(command)
    assert "--lines=100" not in command


def test_the_last_lines_are_shown_unless_more_fewer_or_times_are_asked_for() -> None:
    assert "--lines=100" in journal_command("gpu", Wish())
    assert "--lines=5" in journal_command("gpu", Wish(lines=5, since="today"))
    command = journal_command("gpu", Wish(until="09:00", priority="err"))
    assert {"--until=09:00", "--priority=err"} <= set(command)
    assert not [word for word in command if word.startswith("--lines")]
    assert "--lines=7" in file_command([], follow=False, lines=7)


def test_files_are_found_by_pool_and_instance_oldest_first(tmp_path: Path) -> None:
    for age, name in enumerate(("gpu@2-1", "gpu@1-1", "gpu_small@1-1")):
        file = tmp_path / f"{name}.log"
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    assert [f.stem for f in log_files(tmp_path, "gpu")] == ["gpu@1-1", "gpu@2-1"]
    assert [f.stem for f in log_files(tmp_path, "gpu@2-1")] == ["gpu@2-1"]
    assert [f.stem for f in log_files(tmp_path, None)] == ["gpu_small@1-1", "gpu@1-1", "gpu@2-1"]
    for stranger in ("/etc/gpu", "../gpu@1-1", "g*", ""):
        assert log_files(tmp_path / ".", stranger) == []
    assert "--follow=name" in file_command([tmp_path], follow=True)
    assert "--follow=name" not in file_command([tmp_path], follow=False)


@pytest.mark.parametrize(("subject", "match"), [("gup", "POOL=gup"), ("gup@7-1", "INSTANCE=gup@7-1")])
def test_a_misspelt_pool_is_refused_before_the_journal_says_nothing(tmp_path: Path, subject: str, match: str) -> None:
    (tmp_path / "trapd.toml").write_text("[pools.gpu]\n[pools.default]\n")
    settings = load(tmp_path / "trapd.toml")
    refuse_unknown("gpu", settings)
    refuse_unknown("gpu@7-1", settings)
    with pytest.raises(UsageError) as refused:
        refuse_unknown(subject, settings)
    assert str(refused.value) == f"no pool 'gup'; there are: default, gpu; if it was removed: journalctl {match}"
