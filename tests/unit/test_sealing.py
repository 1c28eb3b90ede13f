"""Whether workers can be kept from writing into their generations, as /proc tells it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.ctl.test_findings import SETTINGS
from trapd.settings.sealing import may_mount, unsealed

ALL, OF_A_CONTAINER = "000001ffffffffff", "00000000a80425fb"  # the latter is what docker gives to root


def status(folder: Path, capabilities: str) -> Path:
    file = folder / "status"
    file.write_text(f"Name:\tpython3\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\n")
    return file


@pytest.mark.parametrize(("capabilities", "may"), [(ALL, True), (OF_A_CONTAINER, False), ("nonsense", True)])
def test_the_capability_tells_who_may_mount(tmp_path: Path, capabilities: str, may: bool) -> None:
    assert may_mount(status(tmp_path, capabilities)) is may


def test_only_root_without_mounts_under_the_embedded_backend_is_worth_a_word(tmp_path: Path) -> None:
    few = status(tmp_path, OF_A_CONTAINER)
    assert "run trapd as another user" in unsealed(SETTINGS, few, user=0)
    assert unsealed(SETTINGS, few, user=1000) == ""
    assert unsealed(replace(SETTINGS, backend="systemd"), few, user=0) == ""
    assert unsealed(SETTINGS, status(tmp_path, ALL), user=0) == ""
