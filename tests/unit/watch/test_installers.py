"""Facts that say whether somebody is still writing."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable, tick
from trapd.watch import installers
from trapd.watch.distributions import locate
from trapd.watch.dpkg import Dpkg
from trapd.watch.installers import Installers, git_folder
from trapd.watch.sites import scan

FILES = {"trap/__init__.py": "x = 1\n", "trap/run.py": "y = 2\n"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site-packages"
    install(site, "trap", "1.3.0", FILES)
    return site


def reason(*paths: Path, names: tuple[str, ...] = ("trap",), prefix: str = "", proc: Path = Path("/nowhere")) -> str:
    sites = scan([str(path) for path in paths])
    found = [one for name in names if (one := locate(name, sites, {}))]
    judged = Installers(proc=proc).judge(found, sites, {"trap", "numpy"}, prefix=prefix)
    return judged.reason or next(iter(judged.altered.values()), "")


def test_a_whole_wheel_is_whole(site: Path) -> None:
    (site / "trap/local.py").write_text("not recorded, and no fault\n")
    assert reason(site) == ""


def test_pips_stash_of_a_watched_distribution_or_of_what_it_requires_says_so(site: Path) -> None:
    (site / "~rap").mkdir()
    assert f"pip is replacing trap, or was killed while it did: {site}/~rap is there" in reason(site)
    (site / "~rap").rename(site / "~umpy-2.0.dist-info")
    assert "pip is replacing numpy" in reason(site)


def test_an_old_stash_of_something_else_blocks_nothing(site: Path) -> None:
    (site / "~rapping").mkdir()
    (site / "~equests-2.0.dist-info").mkdir()
    assert reason(site) == ""


def test_the_stash_is_named_even_while_the_distribution_is_gone(site: Path) -> None:
    (site / "trap").rename(site / "~rap")
    (site / "trap-1.3.0.dist-info").rename(site / "~rap-1.3.0.dist-info")
    assert "~rap is there" in reason(site)


def test_a_stash_that_a_later_installation_has_outlived_blocks_nothing(site: Path) -> None:
    """pip never removes what another pip, which was killed, has left."""
    (site / "~rap").mkdir()
    info = install(site, "trap", "1.4.0", FILES)
    assert reason(site) == ""
    (site / "~-ap").mkdir()
    assert "~-ap is there" in reason(site), "this one is of the next upgrade"
    tick(site)
    info = install(site, "trap", "1.5.0", FILES)
    assert reason(site) == ""
    lines = (info / "RECORD").read_text().splitlines(keepends=True)
    (info / "RECORD").write_text("".join(line for line in lines if "INSTALLER" not in line))
    assert "~-ap is there" in reason(site), "RECORD is still the wheel's own: it has not come to its end"


def break_missing(site: Path) -> str:
    (site / "trap/run.py").unlink()
    return "trap/run.py is missing; run pip install --force-reinstall --no-deps trap"


def break_size(site: Path) -> str:
    (site / "trap/run.py").write_text("y = 20\n")
    return "trap/run.py has 7 bytes, not 6 as installed"


def break_content(site: Path) -> str:
    (site / "trap/run.py").write_text("y = 3\n")
    return "trap/run.py has another content than was installed"


def break_record(site: Path) -> str:
    (site / "trap-1.3.0.dist-info/RECORD").unlink()
    return "has no RECORD that can be read; run pip install --ignore-installed --no-deps trap==1.3.0"


def break_double(site: Path) -> str:
    (site / "trap-1.4.0.dist-info").mkdir()
    there = f"two versions of trap are in {site}: trap-1.3.0.dist-info, trap-1.4.0.dist-info"
    return f"{there}; remove trap-1.4.0.dist-info there, and run pip install --force-reinstall --no-deps trap"


def break_dpkg_new(site: Path) -> str:
    (site / "trap/run.py.dpkg-new").write_text("")
    return "trap/run.py.dpkg-new is there"


@pytest.mark.parametrize(
    "breaking", [break_missing, break_size, break_content, break_record, break_double, break_dpkg_new]
)
def test_what_is_not_as_it_was_installed_is_unfinished(site: Path, breaking: Callable[[Path], str]) -> None:
    expected = breaking(site)
    assert expected in reason(site)


@pytest.mark.parametrize("installer", ["conda", "rpm"])
def test_who_changes_files_after_recording_them_is_not_held_to_the_record(site: Path, installer: str) -> None:
    install(site, "trap", "1.3.0", FILES, installer=installer)
    (site / "trap/run.py").write_text("prefix = '/opt/conda'\n")
    assert reason(site) == ""


@pytest.mark.parametrize("installer", ["conda", "rpm"])
@pytest.mark.parametrize("gone", ["trap/run.py", "trap/_fast.cpython-311-x86_64-linux-gnu.so"])
def test_code_that_is_recorded_and_missing_is_no_whole_installation_whoever_installs(
    site: Path, installer: str, gone: str
) -> None:
    """What such a one changes or leaves out, it does not leave out of a package that somebody imports."""
    files = {**FILES, "trap/_fast.cpython-311-x86_64-linux-gnu.so": "", "trap/notes.txt": "", "trap/old.pyc": ""}
    install(site, "trap", "1.3.0", files, installer=installer)
    for other in ("trap/notes.txt", "trap/old.pyc", "trap-1.3.0.dist-info/WHEEL"):
        (site / other).unlink()
    assert reason(site) == ""
    (site / gone).unlink()
    remedy = (
        "conda install --force-reinstall trap"
        if installer == "conda"
        else "pip install --force-reinstall --no-deps trap"
    )
    assert reason(site) == f"trap is not whole: {site}/{gone} is missing; run {remedy}"
    (site / gone).symlink_to("nowhere")
    assert f"{site}/{gone} is missing" in reason(site)


@pytest.mark.parametrize("installer", ["pip", "uv", "poetry 1.8.2", "Poetry 2.5.1", "PDM", ""])
def test_who_keeps_to_the_record_is_held_to_it(site: Path, installer: str) -> None:
    install(site, "trap", "1.3.0", FILES, installer=installer)
    (site / "trap/run.py").write_text("y = 3\n")
    assert "has another content than was installed" in reason(site)


def test_a_distributions_packager_may_leave_record_out(site: Path) -> None:
    info = install(site, "trap", "1.3.0", FILES, installer="rpm")
    (info / "RECORD").unlink()
    assert reason(site) == ""


# --- git ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree with an editable install, on the import path."""
    source = tmp_path / "tree"
    (source / "trap").mkdir(parents=True)
    (source / "trap/__init__.py").write_text("")
    (source / ".git").mkdir()
    return source


@pytest.mark.parametrize("mark", installers.GIT_AT_WORK)
def test_git_at_work_in_the_tree_of_an_editable_install(tmp_path: Path, tree: Path, mark: str) -> None:
    site = tmp_path / "editable/site-packages"
    install_editable(site, tree, "trap", "1.4.dev0", top_level=["trap"])
    pth = site / "__editable__.trap-1.4.dev0.pth"
    assert pth.exists()
    assert reason(site, tree) == ""
    (tree / ".git" / mark).touch()
    assert reason(site, tree) == f"git is at work on trap, or waits for you: {tree}/.git/{mark} is there"


def test_a_linked_work_tree_has_its_git_folder_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "tree/trap").mkdir(parents=True)
    (tmp_path / "main/.git/worktrees/tree").mkdir(parents=True)
    (tmp_path / "tree/.git").write_text(f"gitdir: {tmp_path}/main/.git/worktrees/tree\n")
    assert git_folder(tmp_path / "tree/trap") == tmp_path / "main/.git/worktrees/tree"
    assert git_folder(Path("/")) is None
    (tmp_path / "tree/.git").write_bytes(b"\0\xff\0")
    assert git_folder(tmp_path / "tree/trap") == tmp_path / "tree/\ufffd", "odd, and nothing is there"


# --- dpkg -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Of a dpkg that has no packages."""
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    lock = tmp_path / "var/lib/dpkg/lock"
    lock.touch()
    return lock


def dpkg(site: Path, proc: Path = Path("/proc")) -> str:
    """The reason if all this lay where Debian installs."""
    [found] = scan([str(site)])
    one = locate("trap", [found], {})
    assert one is not None
    found = replace(found, path=Path("/usr/lib/python3/dist-packages"))
    installers = Installers(proc=proc, dpkg=Dpkg(site.parent))
    return installers.judge([replace(one, site=found)], [found], frozenset({"trap"}), prefix="").reason


def test_debians_packages_are_held_to_no_record_and_may_have_two_kinds_of_metadata(site: Path, lock: Path) -> None:
    """As python3-cryptography and python3-yaml are on Debian 12."""
    (site / "trap.egg-info").mkdir()
    (site / "trap/run.py").write_text("stripped")
    assert dpkg(site) == ""
    (site / "trap/run.py").unlink()
    assert dpkg(site) == "", "left out of the package"
    assert locate("trap", scan([str(site)]), {}).metadata == "trap-1.3.0.dist-info"  # type: ignore[union-attr]


def test_dpkgs_lock_is_seen_while_somebody_holds_it_and_never_taken(site: Path, lock: Path) -> None:
    assert dpkg(site) == ""
    with lock.open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        assert dpkg(site) == f"a package installation is going on (process {os.getpid()} holds dpkg's lock)"
    assert dpkg(site) == ""


def test_waiting_for_dpkgs_lock_is_not_holding_it(site: Path, lock: Path, tmp_path: Path) -> None:
    stat = lock.stat()
    where = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    (tmp_path / "locks").write_text(f"1: -> POSIX  ADVISORY  WRITE 77 {where} 0 EOF\n")
    assert dpkg(site, tmp_path) == ""
    (tmp_path / "locks").write_text(f"1: POSIX  ADVISORY  WRITE 77 {where} 0 EOF\n")
    assert "process 77" in dpkg(site, tmp_path)


def test_dpkgs_lock_is_seen_on_overlayfs_whose_files_stat_gives_another_device(
    site: Path, lock: Path, tmp_path: Path
) -> None:
    (tmp_path / "self").mkdir()
    mounts = f"20 1 0:21 / / rw - ext4 /dev/x rw\n36 20 0:99 / {tmp_path} rw - overlay overlay rw\n"
    (tmp_path / "self/mountinfo").write_text(mounts)
    (tmp_path / "locks").write_text(f"1: POSIX  ADVISORY  WRITE 77 00:15:{lock.stat().st_ino} 0 EOF\n")
    assert dpkg(site, tmp_path) == "", "the same number on another file system"
    (tmp_path / "locks").write_text(f"1: POSIX  ADVISORY  WRITE 77 00:63:{lock.stat().st_ino} 0 EOF\n")
    assert "process 77" in dpkg(site, tmp_path)


def test_dpkg_is_no_concern_of_a_virtual_environment(site: Path, lock: Path) -> None:
    sites = scan([str(site)])
    installers = Installers(dpkg=Dpkg(site.parent))
    with lock.open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        assert installers.judge([], sites, {"trap"}, prefix="").reason == ""


# --- a running pip --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["{venv}/bin/python", "{venv}/bin/pip", "install", "trap"], True),
        (["{venv}/bin/python3.11", "-m", "pip", "--quiet", "--no-cache-dir", "install", "trap"], True),
        (["{venv}/bin/python", "-I", "-m", "pip", "uninstall", "trap"], True),
        (["{link}/bin/python", "-m", "pip", "install", "trap"], True),
        (["{venv}/bin/python", "/usr/lib/pip/__pip-runner__.py", "install", "trap"], True),
        (["{venv}/bin/python", "-m", "pip", "list"], False),
        (["/elsewhere/bin/python", "-m", "pip", "install", "trap"], False),
        (["python", "-m", "pip", "install", "trap"], False),
        (["{venv}/bin/python", "install.py"], False),
        ([""], False),
    ],
)
def test_a_pip_that_still_runs_in_this_environment(
    site: Path, tmp_path: Path, command: list[str], expected: bool
) -> None:
    venv, link, process = tmp_path / "venv", tmp_path / "link", tmp_path / "proc/4711"
    for folder in (venv / "bin", process, tmp_path / "proc/self"):
        folder.mkdir(parents=True)
    link.symlink_to(venv)
    (process / "cmdline").write_text("".join(word.format(venv=venv, link=link) + "\0" for word in command))
    found = reason(site, prefix=str(venv), proc=tmp_path / "proc")
    assert found == ("pip is running (process 4711)" if expected else "")


@pytest.mark.parametrize(("environment", "expected"), [("{venv}", True), ("/elsewhere", False)])
def test_a_pip_of_an_activated_environment_is_known_by_its_variable(
    site: Path, tmp_path: Path, environment: str, expected: bool
) -> None:
    venv, process = tmp_path / "venv", tmp_path / "proc/4711"
    for folder in (venv / "bin", process, tmp_path / "proc/self"):
        folder.mkdir(parents=True)
    (process / "cmdline").write_text("python\0-m\0pip\0install\0trap\0")
    (process / "environ").write_text(f"LANG=C\0VIRTUAL_ENV={environment.format(venv=venv)}\0")
    found = reason(site, prefix=str(venv), proc=tmp_path / "proc")
    assert found == ("pip is running (process 4711)" if expected else "")
