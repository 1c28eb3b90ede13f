"""Code on PYTHONPATH that Python would import and workers do not run, since what is watched goes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable
from trapd.watch.distributions import Distribution, locate
from trapd.watch.shadows import Shadow, shadows
from trapd.watch.sites import scan

FOR_ALL = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
KEY = "[pools.default] environment"


def write(folder: Path, *paths: str, text: str = "") -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def found(tmp_path: Path, *files: str, text: str = "") -> list[Distribution]:
    site = tmp_path / "site-packages"
    install(site, "trap", "1.0", dict.fromkeys(files, text))
    distribution = locate("trap", scan([str(site)]), {})
    assert distribution
    return [distribution]


def hidden(tmp_path: Path, distributions: list[Distribution], *folders: Path) -> list[tuple[str, ...]]:
    path = ":".join(map(str, folders or (tmp_path / "folder",)))
    return [shadow.modules for shadow in shadows(distributions, {KEY: path})]


@pytest.mark.parametrize(
    ("installed", "there", "modules"),
    [
        ("trap/__init__.py", "trap/__init__.py", ("trap",)),
        ("trap/__init__.py", "trap.py", ("trap",)),
        ("trap.py", "trap/__init__.py", ("trap",)),
        ("trap.py", "trap.cpython-311-x86_64-linux-gnu.so", ("trap",)),
        ("space/trap/__init__.py", "space/trap/__init__.py", ("space.trap",)),
        ("space/trap/__init__.py", "space/__init__.py", ("space.trap",)),  # no namespace any more
        ("trap/__init__.py", "trap/late.py", ()),  # a folder without __init__ comes after each package
        ("space/trap/__init__.py", "space/other/__init__.py", ()),
        ("trap/__init__.py", "trapeze/__init__.py", ()),
        ("trap/__init__.py", "trap-1.0.dist-info/METADATA", ()),
        ("trap/__init__.py", "trap/data.csv", ()),
    ],
)
def test_only_what_python_would_import_instead_is_a_shadow(
    tmp_path: Path, installed: str, there: str, modules: tuple[str, ...]
) -> None:
    write(tmp_path / "folder", there)
    assert hidden(tmp_path, found(tmp_path, installed)) == ([modules] if modules else [])


def test_another_part_of_a_declared_namespace_is_none_and_the_same_part_is(tmp_path: Path) -> None:
    distributions = found(tmp_path, "space/__init__.py", "space/trap/__init__.py", text=FOR_ALL)
    (tmp_path / "site-packages/space/trap/__init__.py").write_text("")
    write(tmp_path / "folder", "space/__init__.py", text=FOR_ALL)
    write(tmp_path / "folder", "space/other.py")
    assert hidden(tmp_path, distributions) == []
    write(tmp_path / "folder", "space/trap.py")
    assert hidden(tmp_path, distributions) == [("space.trap",)]


def test_the_source_tree_of_an_editable_install_on_pythonpath_is_what_runs(tmp_path: Path) -> None:
    site, tree = tmp_path / "site-packages", write(tmp_path / "tree", "src/trap/__init__.py")
    install_editable(site, tree, "trap", "1.0")
    distribution = locate("trap", scan([str(site), str(tree / "src")]), {})
    assert distribution is not None
    assert len(distribution.files)
    assert hidden(tmp_path, [distribution], tree / "src") == []
    assert hidden(tmp_path, [distribution], write(tmp_path / "folder", "trap.py")) == [("trap",)]


def test_a_link_to_the_same_package_is_what_runs(tmp_path: Path) -> None:
    distributions = found(tmp_path, "trap/__init__.py")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/trap").symlink_to(tmp_path / "site-packages/trap")
    assert hidden(tmp_path, distributions) == []


def test_what_comes_after_the_watched_code_on_pythonpath_is_no_shadow(tmp_path: Path) -> None:
    """A project's folder, which is on PYTHONPATH itself."""
    project, other = (write(tmp_path / name, "trap/__init__.py") for name in ("project", "other"))
    distribution = locate("trap", scan([str(project)]), {})
    assert distribution
    assert hidden(tmp_path, [distribution], project, other) == []
    assert hidden(tmp_path, [distribution], other, project) == [("trap",)]
    assert hidden(tmp_path, [distribution], Path("relative"), tmp_path / "absent", project) == []


def test_it_says_what_where_and_what_to_do_once_for_all_pools(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", *(f"{name}.py" for name in "abcd"))
    distributions = found(tmp_path, *(f"{name}.py" for name in "abcd"))
    site = f"{tmp_path}/site-packages"
    beat = "[pools.beat] environment_file"
    (one,) = shadows(distributions, {KEY: str(folder), beat: f"{folder}:/srv", "[pools.x] environment": "/srv"})
    assert one == Shadow(("a", "b", "c", "d"), "trap", site, str(folder), (KEY, beat))
    assert str(one) == (
        f"workers do not run a, b, c, ... in {folder}: they run trap in {site}, since what is watched goes before "
        f"PYTHONPATH, on which {KEY} and {beat} have that folder; take the folder off PYTHONPATH, or remove trap from "
        f"{site} to run what is there"
    )
