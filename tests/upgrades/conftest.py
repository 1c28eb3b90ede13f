"""The stages that the rows of a module share, and which module only ``make test-long`` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.installation import make_installation
from tests.support.machine import MissingMachineError, require
from tests.support.repetitions import LONG
from tests.support.service import PLACE, make_application
from tests.upgrades.conda import Conda
from tests.upgrades.layouts import Editable, Environment, Folder, Pipx, Poetry, Release, ReleasedFolder
from tests.upgrades.machine_stage import DIST_PACKAGES, OnMachine
from tests.upgrades.ship import Ship
from tests.upgrades.stage import Shared, Stage

collect_ignore = [] if LONG else ["test_on_demand.py"]


def _shared(kind: type[Stage]) -> Callable[[pytest.FixtureRequest], Iterator[Shared]]:
    """The fixture of a stage of this kind."""

    @pytest.fixture(scope="module")
    def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
        assert request.config.cache is not None
        kept, broker = request.config.cache.mkdir("environments"), make_broker("redis", request)
        stage = Shared(lambda home: kind(home, kept, broker))
        yield stage
        stage.close()

    return shared


environment = _shared(Environment)  # a distribution in a virtual environment
folder = _shared(Folder)  # a project's folder
ship = _shared(Ship)  # a distribution and the library that it requires; trapd waits for little
editable = _shared(Editable)  # a work tree that pip has installed editably
release = _shared(Release)  # a link to a virtual environment
released_folder = _shared(ReleasedFolder)  # a link to a project's folder
pipx = _shared(Pipx)  # an environment of pipx
poetry = _shared(Poetry)  # a project of Poetry
conda = _shared(Conda)  # a conda package in an environment


def _packaged(site: str | None, request: pytest.FixtureRequest, session: Path) -> Iterator[Shared]:
    """``site``: the folder that the package fills; None: the one of the application's environment."""
    try:
        require()
    except MissingMachineError as error:
        pytest.skip(str(error))
    assert request.config.cache is not None
    installation = make_installation(request.config.cache.mkdir("installation"), session)
    environment = make_application(request.config.cache.mkdir("trap-environment"))
    inside = next(environment.glob("lib/python3*/site-packages")).relative_to(environment)
    place = site or f"{PLACE}/{inside}"
    shared = Shared(lambda home: OnMachine(home, installation, environment, place))
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def dist_packages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A Debian package beside all others of Python; the application's environment sees them."""
    yield from _packaged(DIST_PACKAGES, request, tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="module")
def packaged_environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A Debian package with files in a virtual environment."""
    yield from _packaged(None, request, tmp_path_factory.mktemp("installation"))
