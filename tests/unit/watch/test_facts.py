"""For which changes installers vouch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site_packages import install
from trapd.content import CELERYCONFIG, INTERPRETER, Content
from trapd.watch.facts import vouched
from trapd.watch.sites import Site, scan

Table = dict[str, Content]


@pytest.fixture
def sites(tmp_path: Path) -> list[Site]:
    site = tmp_path / "site-packages"
    for name in ("trap", "numpy", "patched"):
        install(site, name, "2.0", {f"{name}/__init__.py": ""})
    (site / "numpy-2.0.dist-info/INSTALLER").write_text("uv")
    install(site, "conda-thing", "2.0", {"thing/__init__.py": ""})
    (site / "conda_thing-2.0.dist-info/INSTALLER").write_text("conda")
    install(tmp_path / "tree", "edited", "2.0", {"edited/__init__.py": ""})
    return scan([str(site), str(tmp_path / "tree")])


NAMES = ("trap", "numpy", "patched", "conda-thing", "edited", CELERYCONFIG, INTERPRETER)
BEFORE: Table = {name: Content("1.0", "a") for name in NAMES}


def upgraded(*names: str) -> Table:
    return {**BEFORE, **{name: Content("2.0", "b") for name in names}}


def without(*names: str) -> Table:
    return {name: content for name, content in BEFORE.items() if name not in names}


@pytest.mark.parametrize(
    ("now", "right"),
    [
        (upgraded("trap"), True),
        (upgraded("trap", "numpy"), True),
        (without("removed"), False),  # nothing changed
        (without("patched"), False),  # it is there, and was not installed so
        (upgraded("trap", "patched"), False),
        (upgraded("trap", "conda-thing"), False),
        (upgraded("edited"), False),
        (upgraded("trap", CELERYCONFIG), False),
        (upgraded("trap", INTERPRETER), False),
    ],
)
def test_which_changes_are_vouched_for(sites: list[Site], now: Table, right: bool) -> None:
    assert vouched(BEFORE, now, sites, {"patched"}) is right


def test_what_is_removed_needs_no_word(sites: list[Site]) -> None:
    assert vouched({**BEFORE, "gone": Content("1.0", "a")}, BEFORE, sites, set())


def test_dpkg_vouches_for_its_folders(tmp_path: Path) -> None:
    where = Site(Path("/usr/lib/python3/dist-packages"), frozenset(), {"trap": ["trap-2.0.egg-info"]})
    assert vouched({"trap": Content("1.0", "a")}, {"trap": Content("2.0", "b")}, [where], {"trap"})
