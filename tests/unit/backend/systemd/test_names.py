"""Units, objects on the bus, and whose they are."""

from __future__ import annotations

import pytest

from trapd.backend.systemd import names
from trapd.model import InstanceId

ID = InstanceId("gpu_big", 12, 3)
PATH = "/org/freedesktop/systemd1/unit/trapd_2dworker_2dgpu_5fbig_4012_2d3_2eservice"


def test_an_instance_is_found_by_its_object_and_back() -> None:
    assert names.object_path(ID) == PATH
    assert names.instance_at(PATH) == ID
    assert names.instance("trapd-worker-gpu_big@12-3.service") == ID


def test_a_digit_in_front_is_escaped_too() -> None:
    assert names.escape("0a") == "_30a"


@pytest.mark.parametrize(
    "unit",
    [
        "trapd.service",
        "cron.service",
        "gpu_big@12-3",  # a name, but not a unit's
        "trapd-worker-gpu_big@.service",
        "trapd-worker-gpu_big@012-3.service",  # a second name of the same instance would be a second worker
        "trapd-worker-Gpu@1-1.service",
        "trapd-worker-gpu@1-1-1.service",
        "trapd-worker-gpu@1-1.timer",
    ],
)
def test_other_units_are_nobodys(unit: str) -> None:
    assert names.instance(unit) is None
    assert names.instance_at(f"{names.UNITS}/{names.escape(unit)}") is None
