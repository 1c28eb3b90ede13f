"""What a copy of a virtual environment consists of, told of trees that are made by hand."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.rights import closed
from trapd.content import Environment
from trapd.errors import SnapshotError
from trapd.generations import env, installed
from trapd.generations.installed import Contents
from trapd.generations.moves import Moves
from trapd.model import TreeFile

SITE = "lib/python3.11/site-packages"
PLACE = f"env/{SITE}"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    venv = tmp_path / "venv"
    put(tmp_path / "usr/bin/python3.11", "an interpreter")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python3.11").symlink_to(tmp_path / "usr/bin/python3.11")
    (venv / "bin/python").symlink_to("python3.11")
    (venv / SITE).mkdir(parents=True)
    (venv / "lib64").symlink_to("lib")
    put(venv / "pyvenv.cfg", "home = /usr/bin\n")
    return venv


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def listed(venv: Path, files: tuple[TreeFile, ...] = (), roots: tuple[str, ...] = (), *hooks: Path) -> Contents:
    environment = Environment(str(venv), "python", {SITE: str(venv / SITE)}, frozenset(map(str, hooks)), site=SITE)
    return env.contents(environment, Moves(environment, files, roots), roots)


def copied(found: Contents) -> set[str]:
    return {file.path.removeprefix(f"{PLACE}/") for file in found.files if file.path.startswith(PLACE)}


def source(tmp_path: Path) -> tuple[tuple[TreeFile, ...], tuple[str, ...]]:
    """A project that is copied by itself."""
    file = put(tmp_path / "src/trap/__init__.py")
    return (TreeFile(f"tree{file}", str(file), "d"),), (str(tmp_path / "src"),)


def test_what_is_installed_is_a_copy_and_everything_else_a_link(venv: Path, tmp_path: Path) -> None:
    put(venv / SITE / "trap/__init__.py")
    put(venv / "lib/libflag.so")
    put(venv / "share/trap/data.csv")
    put(venv / "bin/celery")
    found = listed(venv)
    assert {file.path for file in found.files} == {"env/pyvenv.cfg", f"{PLACE}/trap/__init__.py"}
    assert found.links == {
        "env/bin/python": str(tmp_path / "usr/bin/python3.11"),
        "env/bin/python3.11": "python",
        "env/bin/celery": str(venv / "bin/celery"),
        "env/lib64": "lib",
        "env/lib/libflag.so": str(venv / "lib/libflag.so"),
        "env/share": str(venv / "share"),
    }
    assert found.texts == {}


def test_an_environment_made_of_copies_has_its_own_interpreter(venv: Path) -> None:
    (venv / "bin/python").unlink()
    put(venv / "bin/python", "an interpreter")
    assert listed(venv).links["env/bin/python"] == str(venv / "bin/python")


def test_files_that_are_counted_have_their_digests_and_the_rest_any_content(venv: Path) -> None:
    counted = put(venv / SITE / "trap/__init__.py")
    put(venv / SITE / "other.py")
    digests = {file.path: file.digest for file in listed(venv, (TreeFile("code/x", str(counted), "d1"),)).files}
    assert digests[f"{PLACE}/trap/__init__.py"] == "d1"
    assert digests[f"{PLACE}/other.py"] == ""


def test_pips_remains_and_what_is_no_file_are_left_out(venv: Path) -> None:
    put(venv / SITE / "~rap/__init__.py")
    put(venv / SITE / "trap/~nner/x.py")
    put(venv / SITE / "trap/__pycache__/x.cpython-311.pyc")
    put(venv / SITE / "trap/__pycache__/x.cpython-311.pyc.123")
    (venv / SITE / "gone").symlink_to("nowhere")
    assert copied(listed(venv)) == {"trap/__pycache__/x.cpython-311.pyc"}


# --- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["free.py", "free.so", "free", "free.pth", "link.py"])
def test_what_nobody_counts_and_cannot_be_read_is_left_out_by_name(venv: Path, tmp_path: Path, name: str) -> None:
    end = put(tmp_path / "elsewhere/code.py")
    (venv / SITE / "link.py").symlink_to(end)
    for path in ("free.py", "free.so", "free/__init__.py", "free.pth", "other.py"):
        put(venv / SITE / path)
    behind = end.parent if name == "link.py" else venv / SITE / name
    before = copied(listed(venv))
    with closed(behind):
        found = listed(venv)
    assert found.closed == [str(end if name == "link.py" else behind)]
    assert before - copied(found) == {"free/__init__.py" if name == "free" else name}


def test_compiled_files_that_cannot_be_read_are_no_loss(venv: Path) -> None:
    put(venv / SITE / "trap/__init__.py")
    cache = put(venv / SITE / "trap/__pycache__/__init__.cpython-311.pyc").parent
    with closed(cache):
        found = listed(venv)
    assert (copied(found), found.closed) == ({"trap/__init__.py"}, [])


def test_a_link_within_the_environment_stays_a_link(venv: Path) -> None:
    put(venv / SITE / "libx.so.1")
    (venv / SITE / "libx.so").symlink_to("libx.so.1")
    found = listed(venv)
    assert found.links[f"{PLACE}/libx.so"] == "libx.so.1"
    assert copied(found) == {"libx.so.1"}


def test_behind_a_link_that_leads_out_lies_a_copy(venv: Path, tmp_path: Path) -> None:
    """As uv makes them, one for each file, or as a person links a package."""
    put(tmp_path / "cache/one.py")
    (venv / SITE / "one.py").symlink_to(tmp_path / "cache/one.py")
    put(tmp_path / "lib/other/inner/x.py")
    (tmp_path / "lib/other/again").symlink_to(tmp_path / "lib/other")
    (venv / SITE / "other").symlink_to(tmp_path / "lib/other")
    (venv / SITE / "up").symlink_to(venv)
    assert copied(listed(venv)) == {"one.py", "other/inner/x.py"}


def test_behind_a_link_to_a_copied_project_lies_that_copy(venv: Path, tmp_path: Path) -> None:
    files, roots = source(tmp_path)
    (venv / SITE / "trap").symlink_to(tmp_path / "src/trap")
    found = listed(venv, files, roots)
    assert found.links[f"{PLACE}/trap"] == f"../../../../tree{tmp_path}/src/trap"


def test_large_data_behind_a_link_stays_where_it_is(
    venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "LARGEST", 10)
    put(tmp_path / "catalogue/sky.fits", "x" * 11)
    (venv / SITE / "catalogue").symlink_to(tmp_path / "catalogue")
    found = listed(venv)
    assert found.links[f"{PLACE}/catalogue"] == str(tmp_path / "catalogue")
    assert copied(found) == set()


# --- path files -----------------------------------------------------------------------------------------------------


def test_lines_that_name_copied_folders_name_the_copies(venv: Path, tmp_path: Path) -> None:
    files, roots = source(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "src")
    egg = venv / SITE / "x.egg"
    lines = [
        *("# a comment", "import os", "./x.egg", "/somewhere/else", "../../../src"),
        *(str(tmp_path / "src"), str(tmp_path / "link"), str(egg)),
    ]
    put(venv / SITE / "a.pth", "\n".join(lines))
    tree = f"./../../../../tree{tmp_path}/src"
    assert listed(venv, files, roots).texts[f"{PLACE}/a.pth"].decode().splitlines() == [
        *("# a comment", "import os", "./x.egg", "/somewhere/else", str(venv / "src")),
        *(tree, tree, "./x.egg"),
    ]


def test_a_path_file_that_names_nothing_copied_is_copied_as_it_is(venv: Path) -> None:
    put(venv / SITE / "a.pth", "import os; os\n/somewhere/else\n")
    found = listed(venv)
    assert (copied(found), found.texts) == ({"a.pth"}, {})


def test_what_leads_to_copied_sources_is_left_out_and_our_own_path_file_leads_to_the_copies(
    venv: Path, tmp_path: Path
) -> None:
    files, roots = source(tmp_path)
    other = put(tmp_path / "elsewhere/lib/x.py")  # under another name than it is imported by: {"renamed": "lib"}
    hook, finder = put(venv / SITE / "__editable__.trap.pth"), put(venv / SITE / "__editable___trap_finder.py")
    put(venv / SITE / "trap.dist-info/METADATA")
    found = listed(venv, (*files, TreeFile("code/renamed/x.py", str(other), "d")), roots, hook, finder)
    assert copied(found) == {"trap.dist-info/METADATA"}
    assert found.texts == {f"{PLACE}/_trapd.pth": f"../../../../code\n../../../../tree{tmp_path}/src\n".encode()}


# --- changes --------------------------------------------------------------------------------------------------------


def test_an_environment_that_changes_meanwhile_makes_no_snapshot(venv: Path) -> None:
    file = put(venv / SITE / "other.py", "x = 1\n")
    before = listed(venv)
    env.confirm(before)
    file.write_text("x = 11\n")
    with pytest.raises(SnapshotError, match=r"cannot copy .*other\.py: it has changed since it was looked at"):
        env.confirm(before)


def test_of_a_link_and_a_path_file_too(venv: Path, tmp_path: Path) -> None:
    files, roots = source(tmp_path)
    link, lines = venv / SITE / "trap", put(venv / SITE / "a.pth", f"{tmp_path}/src\n")
    link.symlink_to(tmp_path / "src/trap")
    before = listed(venv, files, roots)
    lines.write_text("/somewhere/else\n")
    with pytest.raises(SnapshotError, match=r"a\.pth"):
        env.confirm(before)
    before = listed(venv, files, roots)
    link.unlink()
    with pytest.raises(SnapshotError, match="trap"):
        env.confirm(before)


def test_where_no_shared_object_can_be_loaded_no_environment_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.permit(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_flag=os.ST_NOEXEC))
    with pytest.raises(SnapshotError, match=r"noexec.*change .* state_directory"):
        env.permit(tmp_path)


def test_whatever_else_comes_and_goes_in_the_environment_is_no_change(venv: Path) -> None:
    """It may be the project's own folder, with its log."""
    before = listed(venv)
    put(venv / "debug.log")
    env.confirm(before)


# --- what comes first -----------------------------------------------------------------------------------------------


def test_what_is_watched_goes_before_what_lies_on_pythonpath(venv: Path) -> None:
    package, info = put(venv / SITE / "trap/inner/x.py"), put(venv / SITE / "trap-1.dist-info/RECORD")
    put(venv / SITE / "other.py")
    counted = (
        TreeFile("code/trap/inner/x.py", str(package), "d"),
        TreeFile(f"code/{info.parent.name}/RECORD", str(info), ""),
    )
    links = listed(venv, counted).links
    assert {place: said for place, said in links.items() if place.startswith("code/")} == {
        "code/trap": f"../{PLACE}/trap",
        "code/trap-1.dist-info": f"../{PLACE}/trap-1.dist-info",
    }


def test_of_a_namespace_with_a_part_elsewhere_each_file_does(venv: Path, tmp_path: Path) -> None:
    mine, other = put(venv / SITE / "ns/mine.py"), put(tmp_path / "lib/other.py")
    counted = (TreeFile("code/ns/mine.py", str(mine), "d"), TreeFile("code/ns/other.py", str(other), "d"))
    assert listed(venv, counted).links["code/ns/mine.py"] == f"../../{PLACE}/ns/mine.py"


def test_for_a_systems_interpreter_an_environment_is_made_that_sees_its_packages(tmp_path: Path) -> None:
    put(tmp_path / "usr/bin/python3.11", "an interpreter")
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    put(tmp_path / "usr/bin/celery")
    put(tmp_path / "usr/share/data.csv")
    site = tmp_path / "usr/lib/python3/dist-packages"
    put(site / "trap/__init__.py")
    put(site / "trap/readme.pth", "not a path file\n")
    put(site / "free.py")
    put(site / "six.py")
    put(site / "other.txt")
    put(site / "dep.pth", "../beside\n")
    (site / "trap/libs").symlink_to("../libs")
    put(site / "libs/flag.so")
    names = ("trap", "six.py", "dep.pth")
    environment = Environment(
        prefix=str(tmp_path / "usr"),
        python="python3",
        sites={},
        parts={f"{SITE}/{name}": str(site / name) for name in names},
        site=SITE,
        virtual=False,
    )
    files = (TreeFile("code/trap/__init__.py", str(site / "trap/__init__.py"), "d"),)
    moves = Moves(environment, files, ())
    found = env.contents(environment, moves, ())
    assert copied(found) == {"trap/__init__.py", "trap/readme.pth", "trap/libs/flag.so", "six.py"}
    assert {file.path: file.digest for file in found.files}[f"{PLACE}/trap/__init__.py"] == "d"
    home = f"home = {tmp_path}/usr/bin\ninclude-system-site-packages = true\n"
    assert found.texts == {"env/pyvenv.cfg": home.encode(), f"{PLACE}/dep.pth": f"{site.parent}/beside\n".encode()}
    assert found.links == {
        "env/bin/python": f"{tmp_path}/usr/bin/python3",
        "env/bin/python3": "python",
        "env/bin/python3.11": "python",
        "env/share": f"{tmp_path}/usr/share",
        "code/trap": f"../{PLACE}/trap",
    }
    put(site / "free2.py")
    env.confirm(found)
    put(site / "six.py", "another one")
    with pytest.raises(SnapshotError, match=r"six\.py: it has changed"):
        env.confirm(found)
