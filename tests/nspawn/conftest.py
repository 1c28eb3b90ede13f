"""Machines for the tests in this folder: each has a real systemd and is gone after its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import Installation, make_installation
from tests.support.machine import Hub, Machine, MissingMachineError, require
from tests.support.repetitions import LONG
from tests.support.service import make_application

HERE = Path(__file__).parent
TIMEOUT = 300.0  # s; the first test of a session waits for pip
Boot = Callable[..., Machine]
collect_ignore = [] if LONG else ["test_whole_trap.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session")
def machines() -> None:
    """Skips where no machine can be booted; with CI set that is a failure."""
    try:
        require()
    except MissingMachineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def installation(machines: None, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """trapd as it is now, in a virtual environment for /opt/trapd. Takes 20 s where setup.cfg has changed, else 1 s."""
    assert pytestconfig.cache is not None
    return make_installation(pytestconfig.cache.mkdir("installation"), tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="session")
def environment(machines: None, pytestconfig: pytest.Config) -> Path:
    """The virtual environment of the sample application, without it, for a machine. Takes 20 s the first time."""
    assert pytestconfig.cache is not None
    return make_application(pytestconfig.cache.mkdir("trap-environment"))


def make_boot(stack: ExitStack) -> Boot:
    def boot(name: str = "machine", **options: Any) -> Machine:
        return stack.enter_context(Machine(name, **options))

    return boot


@pytest.fixture
def boot(machines: None) -> Iterator[Boot]:
    """Boots a machine, with Machine's own arguments; all are gone at the test's end."""
    with ExitStack() as stack:
        yield make_boot(stack)


@pytest.fixture(scope="module")
def boot_for_module(machines: None) -> Iterator[Boot]:
    """As ``boot``, for machines that the tests of one module share."""
    with ExitStack() as stack:
        yield make_boot(stack)


@pytest.fixture
def bare_machine(boot: Boot) -> Machine:
    """A Debian that has never heard of trapd."""
    return boot()


@pytest.fixture
def machine(boot: Boot, installation: Installation) -> Machine:
    """A Debian with trapd's virtual environment at /opt/trapd, and neither users nor units for it."""
    return boot(binds=installation.binds)


@pytest.fixture
def hub(machines: None) -> Iterator[Hub]:
    """A private network for several machines: ``boot("one", hub=hub, peers=["two"])``."""
    with Hub() as hub:
        yield hub
