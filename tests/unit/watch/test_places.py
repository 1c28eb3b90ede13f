"""Which folders are watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable
from trapd.watch.distributions import locate
from trapd.watch.places import Places, places
from trapd.watch.sites import scan


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A machine with an interpreter, a celeryconfig and nothing installed."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").touch()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/celeryconfig.py").touch()
    (tmp_path / "venv/lib/site-packages").mkdir(parents=True)
    return tmp_path


def of(home: Path, *paths: Path, python: Path | None = None) -> Places:
    given = [str(path) for path in paths or (home / "venv/lib/site-packages",)]
    sites = scan(given)
    found = locate("trap", sites, {})
    python = python or home / "venv/bin/python"
    if found:
        return places(python, home / "etc/celeryconfig.py", given, sites, [found])
    return places(python, home / "etc/celeryconfig.py", given, sites, [], ["trap"])


def test_the_package_as_a_tree_and_of_other_folders_what_matters(home: Path) -> None:
    site = home / "venv/lib/site-packages"
    install(site, "trap", "1.3.0", {"trap/__init__.py": "", "trap/sub/__init__.py": ""})
    found = of(home)
    assert found.trees.keys() == {site / "trap"}
    assert {path for path, _ in found.trees[site / "trap"]} == {f"{site}/trap", f"{site}/trap/sub"}
    assert found.folders == {
        site: None,
        site.parent: frozenset({"site-packages"}),
        home / "etc": frozenset({"celeryconfig.py"}),
        home / "venv/bin": frozenset({"python"}),
    }


def test_of_every_folder_above_the_names_that_are_on_the_way(home: Path) -> None:
    """One virtual environment may be put in the place of another, by name."""
    above = of(home).above
    assert above[home] == {"venv", "etc"}
    assert above[home / "venv"] == {"bin", "lib"}
    assert above[home.parent] == {home.name}
    assert above[Path("/")] == {home.parts[1]}
    assert not above.keys() & of(home).folders.keys()


def test_a_release_link_is_watched_where_it_lies_and_behind_it(home: Path) -> None:
    (home / "releases").mkdir()
    (home / "venv").rename(home / "releases/1")
    (home / "current").symlink_to("releases/1")
    site = home / "releases/1/lib/site-packages"
    install(site, "trap", "1.3.0", {"trap/__init__.py": ""})
    found = of(home, home / "current/lib/site-packages", python=home / "current/bin/python")
    assert found.folders[home] == {"current", "releases", "etc"}
    assert found.above[home / "releases"] == {"1"}
    assert found.folders[home / "releases/1/bin"] == {"python"}
    assert found.folders[site] is None
    assert found.trees.keys() == {site / "trap"}


def test_every_link_on_the_way_to_a_file_is_watched(home: Path) -> None:
    config = home / "etc/celeryconfig.py"
    config.unlink()
    (home / "real").mkdir()
    (home / "real/config.py").touch()
    (home / "etc/data").symlink_to("../real")
    config.symlink_to("data/config.py")
    found = of(home)
    assert found.folders[home / "etc"] == {"celeryconfig.py", "data"}
    assert found.folders[home / "real"] == {"config.py"}


def test_links_in_a_circle_end(home: Path) -> None:
    config = home / "etc/celeryconfig.py"
    config.unlink()
    config.symlink_to("other.py")
    (home / "etc/other.py").symlink_to("celeryconfig.py")
    assert of(home).folders[home / "etc"] == {"celeryconfig.py", "other.py"}


def test_where_the_interpreter_is_missing_its_coming_is_awaited(home: Path) -> None:
    assert of(home, python=home / "new/venv/bin/python").folders[home] == {"new", "etc", "venv"}


def test_of_a_source_tree_only_the_watched_names_and_gits_marks_matter(home: Path) -> None:
    site, source = home / "venv/lib/site-packages", home / "tree"
    for name in ("trap/__init__.py", "single.py", "notes.txt", ".git/index"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    install_editable(site, source, "trap", "1.4.dev0", top_level=["trap", "single"])
    found = of(home, site, source)
    assert found.folders[source] == {"trap", "single.py", "single"}, "a folder would come before the module"
    git = found.folders[source / ".git"]
    assert git is not None
    assert "MERGE_HEAD" in git
    assert "index.lock" not in git, "git status makes one each time"


def test_what_is_not_there_yet_is_awaited_in_source_trees_too(home: Path) -> None:
    (home / "tree").mkdir()
    (home / "tree/notes.txt").touch()
    assert of(home, home / "tree").folders[home / "tree"] is None, "under whatever name: Trap, trap.py"
