"""A package with a virtual environment of its own, under a real dpkg with a root folder of its own, and what the looks
of the watch say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.dpkg_root import Root
from tests.support.site_packages import install
from tests.upgrades.rows import Outcome, Row, Wait, each

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg here")


def wait_at_a_question(root: Root, version: str) -> None:
    root.ask(root.held("1.0", asks=True), root.held(version, asks=True))
    assert (root.site / f"held-{version}.dist-info").exists(), "all files are there"


def die_at_a_question(root: Root, version: str) -> None:
    wait_at_a_question(root, version)
    root.end_question()


def others_wait_at_a_question(root: Root, version: str) -> None:
    root.site.mkdir(parents=True)
    install(root.site, "held", version, {"held/__init__.py": ""})
    root.ask(root.package("other", "1", {}, asks=True), root.package("other", "2", {}, asks=True))


def unpack(root: Root, version: str) -> None:
    root.run("--unpack", root.held(version))


def fail_in_postinst(root: Root, version: str) -> None:
    package = root.held(version, postinst="#!/bin/sh\ntest -e /usr/share/no-such-file\n")
    dpkg = root.dpkg("--install", package)
    dpkg.communicate()
    assert dpkg.returncode != 0


def configure(root: Root, version: str) -> None:
    root.end_question()
    (root.path / "var/lib/dpkg/info/held.postinst").unlink(missing_ok=True)
    root.run("--force-confold", "--configure", "--pending")


GOES_ON = "a package installation is going on (process {pid} holds dpkg's lock)"
HALF = "dpkg has not finished the package held, which is {state}; run dpkg --configure --pending"


def held(way: str, act: object, reason: str) -> Row:
    return Row(way, act, Outcome.HELD, Wait.NOTHING, reason, configure)  # type: ignore[arg-type]


ROWS = [
    held("dpkg that waits at its question about a configuration file", wait_at_a_question, GOES_ON),
    held("dpkg that dies at that question", die_at_a_question, HALF.format(state="unpacked")),
    held("`dpkg --unpack`", unpack, HALF.format(state="unpacked")),
    held("maintainer script that fails", fail_in_postinst, HALF.format(state="half-configured")),
    held("dpkg that waits at a question about a package that brings nothing of it", others_wait_at_a_question, ""),
]


@each(ROWS)
def test_dpkg(tmp_path: Path, row: Row) -> None:
    root = Root(tmp_path)
    try:
        row.act(root, "2.0")
        assert root.reason() == row.reason.format(pid=root.question.pid if root.question else None)
        assert row.repair is not None
        row.repair(root, "2.0")
        assert root.reason() == ""
    finally:
        root.end_question()
