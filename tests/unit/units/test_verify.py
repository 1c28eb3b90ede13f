"""What systemd says of a pool's settings, brought back to the settings."""

from __future__ import annotations

from pathlib import Path

from tests.unit.units.test_render import KNOWN, with_units
from trapd.units.verify import faults

POOLS: dict[str, dict[str, object]] = {
    "gpu": {"Nice": 5, "MemoryMax": "1Q", "Nicer": 1},
    "default": {"MemoryMax": "1G"},
}


def fussy(units: list[Path]) -> str:
    """Complains of each MemoryMax=1Q where it stands, as systemd does, and of something that is not the pools'."""
    said = "/lib/systemd/system/other.service:3: Unknown key name 'X'\n"
    for path in sorted(units[0].parent.glob("*.d/*.conf")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            said += f"{path}:{number}: Invalid memory limit '1Q', ignoring\n" if line == "MemoryMax=1Q" else ""
    return said


def test_what_systemd_complains_of_is_told_by_pool_and_name() -> None:
    found = faults(with_units(POOLS), ask=lambda: KNOWN, analyse=fussy)
    assert [(one.pool, one.name) for one in found] == [("gpu", "Nicer"), ("gpu", "MemoryMax")]
    assert "did you mean Nice?" in str(found[0])
    assert "Invalid memory limit '1Q'" in str(found[1])


def test_each_template_is_shown_to_systemd() -> None:
    shown: list[str] = []

    def note(units: list[Path]) -> str:
        shown.extend(unit.name for unit in units if unit.is_file())
        return ""

    assert faults(with_units({"gpu": {"Nice": 1}}), ask=lambda: KNOWN, analyse=note) == []
    assert shown == ["trapd-worker-default@.service", "trapd-worker-gpu@.service"]


def test_without_a_systemd_nothing_but_trapds_own_rules_is_known() -> None:
    def never(_: list[Path]) -> str:
        raise AssertionError("there is nobody to ask")

    pools = {"gpu": {"Whatever": 1, "KillMode": "process"}}
    found = faults(with_units(pools), ask=dict, analyse=never)
    assert [one.name for one in found] == ["KillMode"]
