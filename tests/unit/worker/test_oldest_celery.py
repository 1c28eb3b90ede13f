"""A Celery that is too old is named, with the remedy."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from trapd.worker.oldest_celery import OLDEST, require


@pytest.mark.parametrize("version", ["5.2.6", "4.4.7", "5.4.0rc2"])
def test_an_older_one_is_named_with_what_to_install(version: str) -> None:
    with pytest.raises(ImportError, match=rf"^cannot run on Celery {version}: a worker needs 5.5 or later; install"):
        require(version)


@pytest.mark.parametrize("version", ["5.5.0", "5.5.0rc1", "5.10.1", "6.0"])
def test_one_that_is_new_enough_is_taken(version: str) -> None:
    require(version)


def test_the_package_requires_the_same() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    assert f"celery>={'.'.join(map(str, OLDEST))}" in setup["options"]["install_requires"].split()
