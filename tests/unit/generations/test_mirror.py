"""What lies around a project's code in a snapshot: links to what lies around it in truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.generations.mirror import home, is_neighbour, link_neighbours, originals


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    (tmp_path / "7").mkdir()
    return tmp_path / "7"


def mirror(snapshot: Path, root: Path, *code: str) -> Path:
    """A snapshot of this code alone, with its neighbours; returns the folder that is imported from."""
    copy = snapshot / home(str(root))
    make(copy, *code)
    link_neighbours(snapshot, [str(root)])
    return copy


def links(folder: Path) -> dict[str, Path]:
    return {path.name: path.readlink() for path in folder.iterdir() if path.is_symlink()}


def test_code_is_a_copy_and_everything_else_is_a_link(tmp_path: Path, snapshot: Path) -> None:
    site = make(tmp_path / "site", "proj/a.py", ".env", "media/a", "db.sqlite3", "__pycache__/x.pyc")
    copy = mirror(snapshot, site, "proj/a.py")
    assert links(copy) == {name: site / name for name in (".env", "media", "db.sqlite3")}
    assert not (copy / "proj").is_symlink()


def test_two_folders_above_have_their_entries_and_three_where_the_code_is_in_src(
    tmp_path: Path, snapshot: Path
) -> None:
    make(tmp_path, "a/three", "a/b/two", "a/b/c/one", "a/b/c/src/proj/x.py")
    mirror(snapshot, tmp_path / "a/b/c", "proj/x.py")
    assert [len(links(snapshot / home(str(tmp_path / place)))) for place in ("a", "a/b", "a/b/c")] == [1, 1, 2]
    assert links(snapshot / home(str(tmp_path))) == {}
    mirror(snapshot, tmp_path / "a/b/c/src", "proj/x.py")
    assert links(snapshot / home(str(tmp_path / "a"))) == {"three": tmp_path / "a/three"}


def test_projects_of_one_workspace_are_neighbours_of_each_other(tmp_path: Path, snapshot: Path) -> None:
    for name in ("web", "jobs"):
        make(tmp_path / "ws" / name, "x.py", ".env")
        make(snapshot / home(str(tmp_path / "ws" / name)), "x.py")
    make(tmp_path / "ws/docs")
    link_neighbours(snapshot, [str(tmp_path / "ws" / name) for name in ("web", "jobs")])
    top = snapshot / home(str(tmp_path / "ws"))
    assert [(top / name).is_symlink() for name in ("web", "jobs")] == [False, False]
    assert links(top / "web") == {".env": tmp_path / "ws/web/.env"}


def test_a_namespace_has_the_parts_that_are_not_copied_as_links(tmp_path: Path, snapshot: Path) -> None:
    site = make(tmp_path / "site", "ns/mine/__init__.py", "ns/other/__init__.py", "ns/mine/notes.orig")
    copy = mirror(snapshot, site, "ns/mine/__init__.py")
    assert links(copy / "ns") == {"other": site / "ns/other"}
    assert links(copy / "ns/mine") == {}, "it is whole"


def test_a_folder_that_is_gone_has_no_neighbours(tmp_path: Path, snapshot: Path) -> None:
    copy = mirror(snapshot, tmp_path / "gone", "proj.py")
    assert links(copy) == {}


def test_the_import_path_tells_which_folders_are_mirrored() -> None:
    assert originals(["code", home("/srv/site"), home("/"), "runtime"]) == ("/srv/site", "/")
    assert originals(["code", "runtime"]) == ()


def test_only_a_link_to_its_own_original_is_a_neighbour(tmp_path: Path, snapshot: Path) -> None:
    copy = mirror(snapshot, make(tmp_path / "site", "proj.py", ".env"), "proj.py")
    (copy / "new").symlink_to("/etc")
    assert is_neighbour(snapshot, copy / ".env")
    assert not is_neighbour(snapshot, copy / "new")
    assert not is_neighbour(snapshot, copy / "proj.py")
