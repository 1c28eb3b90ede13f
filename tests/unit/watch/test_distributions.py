"""A distribution's files, however it was installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable
from trapd.watch.distributions import Distribution, Kind, locate
from trapd.watch.sites import scan

FILES = {
    "trap/__init__.py": "",
    "trap/run.py": "x = 1\n",
    "trap/sql/schema.sql": "create\n",
    "trap/sub/__init__.py": "",
}


def find(name: str, *paths: Path, editable: Mapping[str, str] | None = None) -> Distribution:
    found = locate(name, scan([str(path) for path in paths]), editable or {})
    assert found is not None
    return found


def counted(found: Distribution) -> set[str]:
    return {file.path for file in found.files if file.counted}


def uncounted(found: Distribution) -> set[str]:
    return {file.path for file in found.files if not file.counted}


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site-packages"


def test_a_wheel_is_its_folders_and_its_metadata(site: Path) -> None:
    install(site, "trap", "1.3.0", FILES)
    found = find("Trap", site)
    assert (found.kind, found.version, found.from_source) == (Kind.RECORDED, "1.3.0", False)
    assert counted(found) == {*FILES, "trap-1.3.0.dist-info/METADATA"}
    assert uncounted(found) == {f"trap-1.3.0.dist-info/{name}" for name in ("INSTALLER", "RECORD", "WHEEL")}
    assert all(Path(file.source) == site / file.path for file in found.files)
    assert list(found.trees) == [site / "trap"]


def test_what_somebody_put_into_its_folder_is_imported_too(site: Path) -> None:
    install(site, "trap", "1.3.0", FILES)
    make(site, "trap/local.py", "trap/extra/data.csv", "trap/run.py~", "trap/.git/index")
    assert counted(find("trap", site)) >= {"trap/local.py", "trap/extra/data.csv"}
    assert not any("~" in path or ".git" in path for path in counted(find("trap", site)))


def test_compiled_files_of_a_wheel_go_along_uncounted(site: Path) -> None:
    install(site, "trap", "1.3.0", FILES)
    make(
        site,
        "trap/__pycache__/run.cpython-311.pyc",
        "trap/__pycache__/run.cpython-311.pyc.4711",
        "trap/__pycache__/x.nbi",
    )
    assert {path for path in uncounted(find("trap", site)) if "pycache" in path} == {
        "trap/__pycache__/run.cpython-311.pyc"
    }


def test_of_a_folder_that_distributions_share_only_what_is_listed_is_its_own(site: Path) -> None:
    install(site, "mine", "1.0", {"shared/mine/__init__.py": "", "shared/mine/a.py": "", "shared/note.txt": ""})
    install(site, "other", "1.0", {"shared/other/__init__.py": ""})
    make(site, "shared/stranger.py", "shared/mine/local.py")
    assert {path for path in counted(find("mine", site)) if "info" not in path} == {
        "shared/mine/__init__.py",
        "shared/mine/a.py",
        "shared/mine/local.py",
        "shared/note.txt",
    }


def test_single_modules_and_libraries_beside_the_package_belong_to_a_wheel(site: Path) -> None:
    install(
        site, "trap", "1.3.0", {"trap.py": "", "trap.libs/libx.so.5": "", "_trap.cpython-311-x86_64-linux-gnu.so": ""}
    )
    assert counted(find("trap", site)) >= {"trap.py", "trap.libs/libx.so.5", "_trap.cpython-311-x86_64-linux-gnu.so"}


def test_what_lies_outside_the_import_root_is_not_imported(site: Path) -> None:
    info = install(site, "trap", "1.3.0", FILES)
    with (info / "RECORD").open("a") as record:
        record.write("/usr/share/man/trap.1,,\n")
    assert not any(path.startswith(("/", "..")) for path in counted(find("trap", site)))
    assert not any(line.path.startswith(("/", "..")) for line in find("trap", site).record)


def test_a_debian_package_is_found_by_its_top_level_names(tmp_path: Path) -> None:
    site = make(tmp_path / "dist-packages", "trap/__init__.py", "trap/__pycache__/a.pyc", "traptools.py", "other/a.py")
    make(site, "trap-1.3.0.egg-info/PKG-INFO", "trap-1.3.0.egg-info/top_level.txt")
    (site / "trap-1.3.0.egg-info/PKG-INFO").write_text("Name: trap\nVersion: 1.3.0\n")
    (site / "trap-1.3.0.egg-info/top_level.txt").write_text("trap\ntraptools\n")
    found = find("trap", site)
    assert (found.kind, found.version) == (Kind.PACKAGED, "1.3.0")
    assert counted(found) >= {"trap/__init__.py", "traptools.py", "trap-1.3.0.egg-info/PKG-INFO"}
    assert "trap/__pycache__/a.pyc" in uncounted(found)
    assert not any(path.startswith("other") for path in counted(found))


def test_without_top_level_names_a_package_is_called_like_its_distribution(tmp_path: Path) -> None:
    site = make(tmp_path / "dist-packages", "radio_pyse/__init__.py", "radio_pyse-0.7.dist-info/METADATA")
    assert "radio_pyse/__init__.py" in counted(find("radio-pyse", site))


def test_an_editable_install_by_path_is_followed_to_its_source(tmp_path: Path, site: Path) -> None:
    source = make(tmp_path / "work tree", "src/trap/__init__.py", "src/trap/__pycache__/a.pyc", "src/notes.txt")
    install_editable(site, source, "trap", "1.4.dev0", top_level=["trap"])
    found = find("trap", site, source / "src")
    assert (found.kind, found.version, found.from_source) == (Kind.EDITABLE, "1.4.dev0", True)
    assert {path for path in counted(found) if "info" not in path} == {"trap/__init__.py"}
    assert not any(path.endswith((".pyc", ".pth")) for path in counted(found) | uncounted(found))
    assert list(found.trees) == [source / "src/trap"]


def test_an_editable_install_by_finder_is_followed_to_what_it_maps(tmp_path: Path, site: Path) -> None:
    source = make(tmp_path / "tree", "code/trap/__init__.py", "single.py")
    other = make(tmp_path / "other", "stranger/__init__.py")
    install_editable(site, source, "trap", "1.4", top_level=["trap", "single"])
    mapping = {"trap": f"{source}/code/trap", "single": f"{source}/single", "stranger": f"{other}/stranger"}
    found = find("trap", site, editable=mapping)
    assert {path for path in counted(found) if "info" not in path} == {"trap/__init__.py", "single.py"}


def test_an_editable_install_without_any_names_is_all_packages_of_its_source(tmp_path: Path, site: Path) -> None:
    source = make(tmp_path / "tree", "src/sourcefinder/__init__.py", "src/data/x.txt")
    install_editable(site, source, "radio-pyse", "0.7")
    assert {path for path in counted(find("radio-pyse", site, source / "src")) if "info" not in path} == {
        "sourcefinder/__init__.py"
    }


def test_a_develop_install_is_found_in_its_source_tree(tmp_path: Path, site: Path) -> None:
    """``setup.py develop`` puts the source tree on the import path, with the metadata in it."""
    source = make(
        tmp_path / "tree", "trap/__init__.py", "trap.egg-info/PKG-INFO", "trap.egg-info/SOURCES.txt", "setup.py"
    )
    make(site, "trap.egg-link")
    found = find("trap", site, source)
    assert found.from_source
    assert counted(found) == {"trap/__init__.py", "trap.egg-info/PKG-INFO"}


def test_a_plain_folder_or_module_on_the_path_will_do(tmp_path: Path) -> None:
    tree = make(tmp_path / "release", "trap/__init__.py")
    found = find("trap", tree)
    assert (found.kind, found.version, found.from_source) == (Kind.PLAIN, "unknown", True)
    assert counted(found) == {"trap/__init__.py"}
    assert counted(find("single", make(tmp_path / "other", "single.py"))) == {"single.py"}


def test_what_lies_beside_a_plain_package_and_can_be_imported_belongs_to_its_service(tmp_path: Path) -> None:
    mine = {"trap/__init__.py", "users/__init__.py", "users/templates/a.html", "manage.py"}
    others = {"tests/__init__.py", "setup.py", "media/a.py", "notes.txt", "test_all.py", "a-b.py", ".env"}
    assert counted(find("trap", make(tmp_path / "site", *mine, *others))) == mine


def test_a_neighbour_that_holds_much_data_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trapd.watch.projects.LARGEST", 10)
    tree = make(tmp_path / "site", "trap/__init__.py", "models/__init__.py")
    (tree / "models/weights").write_bytes(bytes(11))
    (tree / "trap/sky.csv").write_bytes(bytes(11))
    assert counted(find("trap", tree)) == {"trap/__init__.py", "trap/sky.csv"}


@pytest.mark.parametrize("installed", [True, False])
def test_what_people_read_and_tools_leave_may_change_freely(tmp_path: Path, site: Path, installed: bool) -> None:
    names = ["trap/__init__.py", "trap/README.md", "trap/run.py.orig", "trap/run.py.rej", "trap/run.py.bak"]
    if installed:
        install(site, "trap", "1.3.0", dict.fromkeys(names, ""))
    found = find("trap", site if installed else make(tmp_path / "tree", *names))
    assert {name for name in counted(found) if "info" not in name} == {"trap/__init__.py"}
    assert set(names[1:]) <= uncounted(found), "a program may open any of them"


@pytest.mark.parametrize("installed", [True, False])
def test_a_module_that_comes_compiled_alone_is_code(tmp_path: Path, site: Path, installed: bool) -> None:
    names = ["trap/__init__.pyc", "trap/run.py", "trap/run.pyc"]
    if installed:
        install(site, "trap", "1.3.0", dict.fromkeys(names, ""))
    found = find("trap", site if installed else make(tmp_path / "tree", *names))
    assert {name for name in counted(found) if "info" not in name} == {"trap/__init__.pyc", "trap/run.py"}


def test_what_is_nowhere_is_not_found(site: Path) -> None:
    site.mkdir()
    assert locate("trap", scan([str(site)]), {}) is None


def test_a_folder_and_a_link_to_it_are_both_in_the_snapshot(site: Path) -> None:
    install(site, "trap", "1.3.0", {**FILES, "trap/data/2024/sky.csv": "1\n"})
    (site / "trap/data/current").symlink_to("2024")
    assert {"trap/data/2024/sky.csv", "trap/data/current/sky.csv"} <= counted(find("trap", site))


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", "trap/__init__.py", "shared/deep/a.py")
    (tree / "trap/shared").symlink_to(tree / "shared")
    (tree / "shared/deep/loop").symlink_to(tree / "shared")
    assert counted(find("trap", tree)) == {"trap/__init__.py", "trap/shared/deep/a.py"}


def test_another_folder_under_the_same_path_is_another_tree(site: Path) -> None:
    install(site, "trap", "1.3.0", FILES)
    before = find("trap", site).trees[site / "trap"]
    (site / "trap").rename(site / "~rap")
    install(site, "trap", "1.3.0", FILES)
    assert find("trap", site).trees[site / "trap"] != before


def test_what_dpkg_and_pip_left_in_the_middle_is_litter(site: Path) -> None:
    install(site, "trap", "1.3.0", FILES)
    make(site, "trap/run.py.dpkg-new", "trap/~ub/__init__.py")
    found = find("trap", site)
    assert sorted(found.litter) == [str(site / "trap/run.py.dpkg-new"), str(site / "trap/~ub")]
    assert not any("~ub" in path or "dpkg" in path for path in counted(found))
