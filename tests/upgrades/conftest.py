"""The stages that the rows of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import make_broker
from tests.upgrades.ship import Ship
from tests.upgrades.stage import Environment, Folder, Shared, Stage


def _shared(kind: type[Stage], request: pytest.FixtureRequest) -> Iterator[Shared]:
    assert request.config.cache is not None
    kept, broker = request.config.cache.mkdir("environments"), make_broker("redis", request)
    shared = Shared(lambda home: kind(home, kept, broker))
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def environment(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """A distribution in a virtual environment."""
    yield from _shared(Environment, request)


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """A project's folder."""
    yield from _shared(Folder, request)


@pytest.fixture(scope="module")
def ship(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """A distribution and the library that it requires, in a virtual environment; trapd waits for little."""
    yield from _shared(Ship, request)
