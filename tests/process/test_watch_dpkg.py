"""What dpkg says of itself, under a real dpkg with a root folder of its own: a package that brings the application's
virtual environment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.dpkg_root import Root
from tests.support.site_packages import install

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg here")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_a_package_with_an_environment_of_its_own_is_whole_when_dpkg_has_configured_it(root: Root) -> None:
    with root.asking(root.held("1.0", asks=True), root.held("2.0", asks=True)) as dpkg:
        assert (root.site / "held-2.0.dist-info").exists(), "all files are there"
        assert root.reason() == f"a package installation is going on (process {dpkg.pid} holds dpkg's lock)"
        dpkg.kill()
        dpkg.wait()
        remedy = "run dpkg --configure --pending"
        assert root.reason() == f"dpkg has not finished the package held, which is unpacked; {remedy}"
    root.run("--force-confold", "--configure", "--pending")
    assert root.reason() == ""


def test_a_dpkg_that_waits_at_a_question_is_no_concern_of_another_environment(root: Root) -> None:
    root.site.mkdir(parents=True)
    install(root.site, "held", "1.0", {"held/__init__.py": ""})
    with root.asking(root.package("other", "1", {}, asks=True), root.package("other", "2", {}, asks=True)):
        assert root.reason() == ""
    assert root.reason() == "", "half-configured for ever, and no distribution of the application is in it"


def test_a_package_that_is_unpacked_only_is_not_finished(root: Root) -> None:
    root.run("--unpack", root.held("1.0"))
    assert "dpkg has not finished the package held, which is unpacked; " in root.reason()
    root.run("--configure", "held")
    assert root.reason() == ""
