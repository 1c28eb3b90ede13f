"""One environment for all applications."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import runs
from tests.applications.catalogue import Application
from tests.conftest import make_broker
from tests.support import environments


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The applications' interpreter; what else is installed is whatever the last test left."""
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("environments-of-applications")
    return environments.copy(kept, tmp_path_factory.mktemp("applications") / "venv", *runs.PACKAGES)


@pytest.fixture
def place(python: Path, short_path: Path, request: pytest.FixtureRequest) -> Callable[[Application], runs.Place]:
    """A place for an application, with a broker."""

    def make(application: Application) -> runs.Place:
        config = make_broker(application.broker, request).settings()
        folder = short_path / "project"
        return runs.Place(application, python, folder, config["broker_url"], config["result_backend"])

    return make
