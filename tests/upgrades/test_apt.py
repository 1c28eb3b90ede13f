"""Code that apt brings: trapd is a service of a machine, and the application a Debian package."""

from __future__ import annotations

import pytest

from tests.upgrades.machine_stage import OnMachine
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Row, Wait, each
from tests.upgrades.stage import Shared

pytestmark = pytest.mark.together


def apt_install(stage: OnMachine, version: str) -> None:
    stage.apt(version)


def apt_for_longer_than_the_quiet_period(stage: OnMachine, version: str) -> None:
    slow = "#!/bin/sh\nsleep 4\n"
    stage.apt(version, {"preinst": slow, "postinst": slow})


def apt_with_another_package_that_takes_longer(stage: OnMachine, version: str) -> None:
    """dpkg has finished the application's package; apt, which holds the lock, has not finished."""
    stage.apt(version, others={"postinst": "#!/bin/sh\nsleep 6\n"})


DIST_PACKAGES = [
    Row("`apt-get install` of a package with files in dist-packages", apt_install, wait=Wait.FACTS),
    Row(
        "the same, with scripts that run longer than `quiet_period`",
        apt_for_longer_than_the_quiet_period,
    ),
]
OWN_ENVIRONMENT = [
    Row("`apt-get install` of a package with files in a virtual environment", apt_install, wait=Wait.FACTS),
    Row(
        "the same in a virtual environment, with scripts that run longer than `quiet_period`",
        apt_for_longer_than_the_quiet_period,
    ),
    Row(
        "the same, with another package whose scripts run longer than `quiet_period`",
        apt_with_another_package_that_takes_longer,
    ),
]


@each(DIST_PACKAGES)
def test_apt(dist_packages: Shared, row: Row) -> None:
    prove(dist_packages, row)


@each(OWN_ENVIRONMENT)
def test_apt_in_an_environment(packaged_environment: Shared, row: Row) -> None:
    prove(packaged_environment, row)
