"""The real Trap on a real systemd: a boot comes up on the whole environment that was good, whatever was removed since.

Only ``make test-long`` runs this test: see conftest.py. pip takes a minute, each start of a worker 15 to 30 s.
test_life.py has the same with a small application.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.nspawn.conftest import Boot
from tests.support.daemon import Status, settled_on
from tests.support.installation import Installation
from tests.support.service import PLACE, Service, make_application, pip_uninstall, redis
from tests.support.two_finders import FINDER, SOURCES, write_image
from trapd.distribute.app import EXTRACT_SOURCES

pytestmark = [pytest.mark.timeout(2400), pytest.mark.long]

VERSION = "1.1.1"
IMAGE = "/srv/image.fits"
START = 600.0  # s, on a machine that does much else
AT_ONCE = 20.0  # s from the death of a worker to the start of the next; on a machine at rest 1 s
_ASK = """
import sys
from celery import Celery
app = Celery("asker")
app.config_from_object("celeryconfig")
answer = app.send_task(sys.argv[1], (sys.argv[2],)).get(timeout=300)
assert answer["error"] is None, answer["error"]
print(answer["versions"]["trap"], answer["versions"]["radio-pyse"], len(answer["sources"]))
"""


@pytest.fixture
def service(boot: Boot, installation: Installation, pytestconfig: pytest.Config, tmp_path: Path) -> Service:
    assert pytestconfig.cache is not None
    environment = make_application(pytestconfig.cache.mkdir("whole-trap-of-a-machine"), f"trap=={VERSION}")
    return Service(
        partial(boot, size="6g"),
        installation=installation,
        environment=environment,
        broker=redis(),
        tables={
            "app": {"python": f"{PLACE}/bin/python"},
            "watch": {},
            "pools.default": {"workers": 1, "concurrency": 1},
        },
        seed=tmp_path / "seed",
    )


def broken(status: Status) -> bool:
    return status["disk"]["state"] == "broken" and "requires astropy" in status["disk"]["reason"]


def runs(service: Service) -> None:
    """One worker runs, on the version that was there first, and finds what that one finds."""
    service.wait_until(f"a worker on {VERSION}", settled_on(VERSION, 1, "trap"), timeout=START)
    ask = [f"{PLACE}/bin/python", "-B", "-c", _ASK, EXTRACT_SOURCES, IMAGE]
    answer = service.machine.run("env", "--chdir=/etc/trapd", *ask, timeout=START).check().split()
    assert answer == [VERSION, FINDER[VERSION], str(SOURCES[VERSION])]


def told(service: Service) -> None:
    """trapd says what is missing on the disk."""
    service.wait_until("a broken disk", broken, timeout=START)
    said = service.ctl("status")
    assert said.code == 1
    assert "astropy" in said.out


def after(true: Callable[[], bool], service: Service) -> float:
    """Seconds until it is true."""
    began = time.monotonic()
    service.wait("it", true, timeout=START, every=0.1)
    return time.monotonic() - began


def test_a_boot_comes_up_with_the_source_finder_though_a_library_is_gone(service: Service, tmp_path: Path) -> None:
    machine = service.machine
    machine.copy_in(write_image(tmp_path / "image.fits"), "/srv")
    machine.systemctl("enable", "--now", "trapd")
    runs(service)

    machine.sh(pip_uninstall("astropy")).check()
    told(service)
    [(name, pid)] = service.workers().items()
    machine.run("kill", "-9", str(pid)).check()
    seconds = after(lambda: service.workers().get(name, pid) != pid, service)
    print(f"another process after {seconds:.1f} s")
    assert seconds < AT_ONCE
    runs(service)

    machine.reboot()
    runs(service)
    told(service)
