"""`trapctl check` on what pools hand to systemd."""

from __future__ import annotations

from pathlib import Path

from trapd.ctl.check import unit_findings
from trapd.settings import load


def test_a_setting_that_trapd_needs_for_itself_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / "trapd.toml"
    file.write_text('[trapd]\nbackend = "systemd"\n[pools.gpu.systemd]\nKillMode = "process"\nNice = 5\n')
    (finding,) = unit_findings(load(file))
    assert finding.level == "error"
    assert finding.what == "[pools.gpu.systemd] KillMode does not apply"
    assert "relies" in finding.remedy


def test_without_such_settings_there_is_nothing_to_say(tmp_path: Path) -> None:
    file = tmp_path / "trapd.toml"
    file.write_text("[pools.gpu]\n")
    assert unit_findings(load(file)) == []
