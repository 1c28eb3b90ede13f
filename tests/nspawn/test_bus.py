"""The system bus is taken away, for a while or until trapd is stopped: from a machine that no other test shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nspawn.conftest import Boot
from tests.support.installation import Installation
from tests.support.service import Service, at_rest, redis

BUS = ("dbus.socket", "dbus.service")


@pytest.fixture
def service(boot: Boot, installation: Installation, environment: Path, tmp_path: Path) -> Service:
    """Two workers that are current."""
    seed = tmp_path / "seed"
    service = Service(boot, broker=redis(), installation=installation, environment=environment, seed=seed)
    service.machine.systemctl("start", "trapd")
    service.wait_until("workers that are current", at_rest)
    return service


def test_without_the_bus_all_goes_on_and_after_it_came_back_a_recycle_works(service: Service) -> None:
    machine, before, pid = service.machine, service.workers(), service.pid()
    machine.systemctl("stop", *BUS)
    service.wait("word of it", lambda: "lost the connection to systemd" in machine.journal("-u", "trapd"))
    service.wait_for("end", service.nap(0.1, 0.1))
    assert service.status()["daemon"]["state"] == "running"
    victim = min(before)
    machine.run("kill", "-9", str(before[victim])).check()
    service.wait("it again, by systemd alone", lambda: service.workers().get(victim, before[victim]) != before[victim])
    assert {name: service.workers()[name] for name in before if name != victim}.items() <= before.items()
    assert service.pid() == pid

    machine.systemctl("start", *BUS)
    service.wait_until("its workers current", at_rest)
    assert service.pid() == pid
    assert {name for name, one in service.workers().items() if one in before.values()} == {max(before)}
    done = service.ctl("recycle", "--wait", "--timeout", "60s")
    assert done.code == 0, done
    after = service.workers()
    assert len(after) == len(before)
    assert not set(after) & set(before)
    service.wait_for("end", service.nap(0.1, 0.1))
    assert service.pid() == pid


def test_a_stop_without_the_bus_lets_the_workers_finish_and_leaves_none(service: Service) -> None:
    (nap,) = service.nap(40)  # trapd tries for 20 s to ask what is meant
    service.wait_for("start", [nap])
    service.machine.systemctl("stop", *BUS)
    service.machine.systemctl("stop", "trapd")
    assert service.machine.show("trapd", "ActiveState", "MainPID") == {"ActiveState": "inactive", "MainPID": "0"}
    assert "deactivating" in service.states().values()
    service.wait("an end of all workers", lambda: not service.states())
    service.wait_for("end", [nap], timeout=0)
