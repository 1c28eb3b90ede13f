"""`trapctl install` and `uninstall` below a folder, and what they would refuse. tests/nspawn/ has them on a machine."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trapd.ctl import obstacles, shipped
from trapd.ctl.exits import exit_of
from trapd.ctl.install import RECORD, Installation
from trapd.errors import NotPermittedError, RefusedError

TRAPCTL = '#!/bin/sh\necho "the completion of trapctl: $_TRAPCTL_COMPLETE"\n'
UNIT = "/usr/local/lib/systemd/system/trapd.service"


@dataclass
class Stage:
    """An installation below a folder, and what it says and runs."""

    folder: Path
    said: list[str] = field(default_factory=list)
    ran: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root, self.bindir = self.folder / "root", self.folder / "bin"
        self.bindir.mkdir(parents=True)
        (self.bindir / "trapctl").write_text(TRAPCTL)
        (self.bindir / "trapctl").chmod(0o755)

    def run(self, command: Sequence[str]) -> int:
        self.ran.append(list(command))
        return 0

    @property
    def installation(self) -> Installation:
        return Installation(self.root, self.bindir, self.said.append, self.run, as_root=False)

    def files(self) -> dict[str, str]:
        """Path on the machine -> content, or where a link leads."""
        found = [path for path in self.root.rglob("*") if path.is_symlink() or path.is_file()]
        return {f"/{p.relative_to(self.root)}": str(p.readlink()) if p.is_symlink() else p.read_text() for p in found}

    def install(self) -> list[str]:
        """What it says."""
        self.said.clear()
        self.installation.install()
        return [line for line in self.said if not line.startswith("kept")]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_everything_is_put_in_its_place(stage: Stage) -> None:
    assert {line.split()[0] for line in stage.install()} == {"wrote", "linked"}
    files = stage.files()
    assert f"ExecStart={stage.bindir}/trapd\n" in files[UNIT]
    assert files["/usr/local/bin/trapctl"] == f"{stage.bindir}/trapctl"
    assert files["/usr/local/share/fish/vendor_completions.d/trapctl.fish"].endswith(": fish_source\n")
    assert ".TH TRAPD.TOML 5" in files["/usr/local/share/man/man5/trapd.toml.5"]
    assert "[pools.default]" in files["/etc/trapd/trapd.toml"]
    assert "@bindir@" not in "".join(files.values())
    assert set(files) - {"/etc/trapd/trapd.toml", "/etc/trapd/celeryconfig.py"} == set(
        files[str(RECORD)].split("\n")
    ) - {line for line in files[str(RECORD)].split("\n") if line.endswith("/") or not line}


def test_what_is_written_can_be_read_by_all_whatever_the_umask_is(stage: Stage) -> None:
    before = os.umask(0o077)
    try:
        stage.install()
    finally:
        os.umask(before)
    for path in stage.root.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.name == "celeryconfig.py":
            assert mode == 0o640
        elif not path.is_symlink():
            assert mode in (0o644, 0o755), path


def test_done_again_it_changes_nothing(stage: Stage) -> None:
    stage.install()
    before = {path: path.lstat().st_mtime_ns for path in stage.root.rglob("*")}
    assert stage.install() == []
    assert {path: path.lstat().st_mtime_ns for path in stage.root.rglob("*")} == before


def test_what_people_wrote_stays(stage: Stage) -> None:
    stage.install()
    (stage.root / "etc/trapd/trapd.toml").write_text("mine\n")
    stage.install()
    assert stage.files()["/etc/trapd/trapd.toml"] == "mine\n"
    assert "kept /etc/trapd/trapd.toml" in stage.said


@pytest.mark.parametrize(
    "spoil",
    [
        lambda unit: unit.unlink(),
        lambda unit: unit.write_text("old\n"),
        lambda unit: unit.chmod(0o600),
        lambda unit: (unit.unlink(), unit.symlink_to("/dev/null")),
    ],
    ids=["gone", "old", "closed", "masked by hand"],
)
def test_what_is_not_as_it_should_be_is_mended(stage: Stage, spoil: Callable[[Path], object]) -> None:
    stage.install()
    before = stage.files()
    spoil(stage.root / UNIT.lstrip("/"))
    assert stage.install() == [f"wrote {UNIT}"]
    assert stage.files() == before


def test_what_a_newer_trapd_no_longer_has_is_removed(stage: Stage) -> None:
    stage.install()
    old = stage.root / "usr/local/lib/systemd/system/trapd-old.service"
    old.touch()
    record = stage.root / str(RECORD).lstrip("/")
    record.write_text(record.read_text() + "/usr/local/lib/systemd/system/trapd-old.service\n")
    assert "removed /usr/local/lib/systemd/system/trapd-old.service" in stage.install()
    assert not old.exists()


def test_uninstall_leaves_what_was_there_before_and_the_configuration(stage: Stage) -> None:
    (stage.root / "usr/local/bin").mkdir(parents=True)
    (stage.root / "usr/local/lib").mkdir()
    (stage.root / "usr/local/lib/other").touch()
    before = set(stage.root.rglob("*"))
    stage.install()
    stage.installation.uninstall()
    left = {f"/{path.relative_to(stage.root)}" for path in set(stage.root.rglob("*")) - before}
    assert left == {"/etc", "/etc/trapd", "/etc/trapd/trapd.toml", "/etc/trapd/celeryconfig.py"}
    assert set(stage.root.rglob("*")) >= before


def test_purge_leaves_nothing(stage: Stage) -> None:
    stage.install()
    (stage.root / "var/lib/trapd/generations/1").mkdir(parents=True)
    stage.installation.uninstall(purge=True)
    assert [path for path in stage.root.rglob("*") if "trapd" in path.name] == []


def test_uninstall_where_nothing_is_installed_is_refused(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="trapctl has installed nothing here"):
        stage.installation.uninstall()


def test_an_installation_after_an_interrupted_one_goes_on(stage: Stage) -> None:
    """Without a record everything is there or not; each file is whole."""
    stage.install()
    (stage.root / str(RECORD).lstrip("/")).unlink()
    assert stage.install() == [f"wrote {RECORD}"]


def test_nothing_is_started_below_a_folder(stage: Stage) -> None:
    stage.install()
    stage.installation.uninstall()
    assert stage.ran == []


def test_nothing_is_changed_if_a_completion_cannot_be_written(stage: Stage) -> None:
    (stage.bindir / "trapctl").write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    with pytest.raises(RefusedError, match="cannot write the completion for bash: broken"):
        stage.installation.install()
    assert stage.files() == {}


def test_only_root_may_change_the_machine_itself(stage: Stage) -> None:
    here = Installation(Path("/"), stage.bindir, stage.said.append, stage.run, as_root=False)
    for act in (here.install, here.uninstall):
        with pytest.raises(NotPermittedError, match="only root") as refused:
            act()
        assert exit_of(refused.value, "install") == 4
    assert stage.ran == []


def test_every_obstacle_is_named_at_once(stage: Stage) -> None:
    found = ["the first is this", "the second is that"]
    here = Installation(Path("/"), stage.bindir, stage.said.append, stage.run, as_root=True, obstacles=lambda: found)
    with pytest.raises(RefusedError, match="the first is this\n  the second is that"):
        here.install()
    assert (stage.ran, stage.said) == ([], [])


# --- what stands in the way -----------------------------------------------------------------------------------------

ROOT, ALICE = 0, 4242


def stats(owners: Mapping[str, tuple[int, int]]) -> Callable[[Path], os.stat_result]:
    """A file system: path -> (mode, owner); everything else is root's, and open to all."""

    def look(path: Path) -> os.stat_result:
        mode, owner = owners.get(str(path), (stat.S_IFDIR | 0o755, ROOT))
        return os.stat_result((mode, 0, 0, 0, owner, 0, 0, 0, 0, 0))

    return look


@pytest.mark.parametrize(
    ("place", "owners", "reason"),
    [
        ("/opt/trapd", {}, ""),
        ("/home/alice/venv", {}, "services see nothing of /home"),
        ("/root/venv", {}, "services see nothing of /root"),
        ("/tmp/venv", {}, "services see nothing of /tmp"),
        ("/srv/venv", {"/srv": (stat.S_IFDIR | 0o750, ROOT)}, "/srv is closed to other users (mode 0750)"),
        ("/srv/venv", {"/srv": (stat.S_IFDIR | 0o755, ALICE)}, "/srv belongs to user 4242"),
        ("/srv/venv", {"/srv/venv": (stat.S_IFDIR | 0o777, ROOT)}, "everybody can write /srv/venv"),
        ("/srv/venv", {"/srv": (stat.S_IFDIR | 0o1777, ROOT)}, ""),
        ("/srv/venv", {"/srv": (stat.S_IFLNK | 0o777, ROOT)}, ""),
    ],
)
def test_places_that_services_cannot_use(place: str, owners: Mapping[str, tuple[int, int]], reason: str) -> None:
    found = list(obstacles.of_places({"the installation": Path(place)}, look=stats(owners)))
    assert len(found) == bool(reason)
    assert reason in "".join(found)


def test_one_file_of_somebody_else_is_enough(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/module.py").touch()
    mine = {str(tmp_path / "deep/module.py"): (stat.S_IFREG | 0o644, ALICE)}
    assert "belongs to user 4242" in next(obstacles.of_trees([tmp_path], look=stats(mine)))
    closed = {str(tmp_path / "deep/module.py"): (stat.S_IFREG | 0o600, ROOT)}
    assert "cannot read" in next(obstacles.of_trees([tmp_path], look=stats(closed)))
    assert list(obstacles.of_trees([tmp_path], look=stats({}))) == []


@pytest.mark.parametrize(
    ("state", "reason"),
    [("loaded", ""), ("masked", "systemctl unmask polkit"), ("not-found", "install polkitd"), ("", "install polkitd")],
)
def test_what_the_machine_lacks(tmp_path: Path, state: str, reason: str) -> None:
    found = list(obstacles.of_machine(tmp_path, tmp_path / "none", lambda *_: state))
    assert len(found) == bool(reason)
    assert reason in "".join(found)


def test_without_systemd_or_beside_the_package_it_is_refused(tmp_path: Path) -> None:
    assert "embedded backend" in next(obstacles.of_machine(tmp_path / "none", tmp_path / "none", lambda *_: "loaded"))
    packaged = tmp_path / "trapd.service"
    packaged.touch()
    assert "apt remove trapd" in next(obstacles.of_machine(tmp_path, packaged, lambda *_: "loaded"))


# --- what is shipped ------------------------------------------------------------------------------------------------


def test_a_wheel_holds_all_that_is_put_in_place() -> None:
    """Every folder that is read from has its line in setup.cfg."""
    root = Path(__file__).parents[3]
    listed = (root / "setup.cfg").read_text().partition("[options.data_files]")[2].partition("\n[")[0]
    patterns = [line.partition(" = ")[2] for line in listed.splitlines() if " = " in line]
    packed = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    units = {path for path in (root / "systemd").rglob("*") if path.is_file() and "debian" not in path.parts}
    documents = {root / "docs" / name for name in shipped.DOCUMENTS} | set((root / "docs/man").iterdir())
    assert packed >= units | documents | set((root / "etc").glob("*.*"))


def test_a_wheel_holds_every_file_of_the_package_that_is_no_module() -> None:
    """The JSON Schema, above all, which `trapctl schema` prints."""
    root = Path(__file__).parents[3]
    configuration = ConfigParser()
    configuration.read(root / "setup.cfg")
    patterns = configuration["options.package_data"]["trapd"].split()
    packed = {path for pattern in patterns for path in (root / "trapd").glob(pattern)}
    data = {path for path in (root / "trapd").rglob("*.*") if path.suffix not in (".py", ".pyc") and path.is_file()}
    assert root / "trapd/control/schema.json" in data
    assert data <= packed


@pytest.mark.parametrize("folders", [shipped.PACKAGE, shipped.LOCAL], ids=["package", "pip"])
def test_every_document_that_a_unit_cites_is_put_in_its_place(stage: Stage, folders: Mapping[str, Path]) -> None:
    placed = {file.path: file.text for file in shipped.files(shipped.source(), stage.bindir, folders)}
    units = [text for text in placed.values() if "\n[Unit]\n" in text]
    urls = {url for text in units for line in re.findall(r"(?m)^Documentation=(.*)$", text) for url in line.split()}
    pages = {f"man:{path.stem}({path.suffix[1:]})" for path in placed if path.parent.parent == folders["man"]}
    assert urls == {"man:trapd(8)", f"file://{folders['doc']}/systemd.md"}
    assert all(url in pages or Path(url.removeprefix("file://")) in placed for url in urls)
    assert len(units) == len(re.findall(r"(?m)^Documentation=", "".join(units))) == 6
    assert not [path for path, text in placed.items() if re.search(r"(?<!/)\bdocs/", text)]


def test_the_package_and_pip_place_the_same_kinds_of_files() -> None:
    assert shipped.PACKAGE.keys() == shipped.LOCAL.keys()
    same = set(shipped.PACKAGE.values()) & set(shipped.LOCAL.values())
    assert {folder.parent for folder in same} == {Path("/etc/needrestart")}, "needrestart reads no other folder"
