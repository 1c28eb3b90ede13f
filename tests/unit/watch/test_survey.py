"""One look: what counts, what does not, and how it is judged."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.rights import closed
from tests.support.site_packages import install, install_editable, make_old, uninstall
from trapd.access import name_of_user
from trapd.content import Content
from trapd.file_stamp import digest
from trapd.rollout.changes import changes, sentence
from trapd.rollout.condition import Condition, condition
from trapd.watch.fingerprint import Hasher
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places
from trapd.watch.quiet import Verdict
from trapd.watch.sites import _cache
from trapd.watch.survey import Arm, Meant, Survey, Surveyor

FILES = {"trap/__init__.py": "x = 1\n", "trap/run.py": "y = 2\n", "trap/data.csv": "1;2\n"}


@dataclass
class Machine:
    """An installation, and looks at it."""

    home: Path
    surveyor: Surveyor
    answer: Answer
    condition: Condition | None = None  # of what is wanted

    @property
    def site(self) -> Path:
        return self.home / "site-packages"

    @property
    def celeryconfig(self) -> Path:
        return self.home / "celeryconfig.py"

    def look(
        self,
        *,
        fresh: bool = False,
        arm: Arm = lambda places: (),
        loaded: frozenset[str] = frozenset(),
    ) -> Survey:
        config = self.celeryconfig.read_bytes() if self.celeryconfig.exists() else b""
        answer = replace(self.answer, celeryconfig=hashlib.sha256(config).hexdigest() if config else "")
        return self.surveyor.look(answer, arm, wall=time.time(), fresh=fresh, meant=Meant(loaded, self.condition))

    def settle(self) -> None:
        """What is there has settled, and is wanted."""
        found = self.look()
        assert found.finding.verdict is Verdict.WHOLE, found.finding.reason
        self.surveyor.settled(found)
        self.condition = condition(found.disk)

    def fingerprint(self) -> str:
        found = self.look()
        assert found.finding.verdict is Verdict.WHOLE, found.finding.reason
        assert found.disk.fingerprint != ""
        return found.disk.fingerprint


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    celeryconfig = tmp_path / "celeryconfig.py"
    celeryconfig.write_text("broker_url = 'redis://'\n")
    make_old(celeryconfig)
    site = tmp_path / "site-packages"
    install(site, "trap", "1.3.0", FILES, requires=["numpy"])
    install(site, "numpy", "2.0", {"numpy/__init__.py": ""})
    surveyor = Surveyor(tmp_path / "python", celeryconfig, ["trap"])
    return Machine(tmp_path, surveyor, Answer(paths=(str(site),), identity="python 3.11", prefix=str(tmp_path)))


def test_a_whole_installation_is_described_with_all_that_is_to_be_copied(machine: Machine) -> None:
    found = machine.look()
    assert found.finding.verdict is Verdict.WHOLE
    assert found.finding.age > 3600
    assert found.disk.versions == {"trap": "1.3.0"}
    files = {file.path: file for file in found.disk.files}
    assert len(files) == len(found.disk.files) == len(list(found.disk.files))
    assert files.keys() == {
        *(f"code/{path}" for path in FILES),
        *(f"code/trap-1.3.0.dist-info/{name}" for name in ("INSTALLER", "METADATA", "RECORD", "WHEEL")),
        "etc/celeryconfig.py",
    }
    assert files["code/trap/run.py"].digest == hashlib.sha256(b"y = 2\n").hexdigest()
    assert files["code/trap/run.py"].source == str(machine.site / "trap/run.py")
    assert files["etc/celeryconfig.py"].digest == hashlib.sha256(machine.celeryconfig.read_bytes()).hexdigest()
    assert files["code/trap-1.3.0.dist-info/RECORD"].digest == "", "how it was installed may change"


# --- no effect ------------------------------------------------------------------------------------------------------


def touch(machine: Machine) -> None:
    os.utime(machine.site / "trap/run.py")


def change_mode(machine: Machine) -> None:
    (machine.site / "trap/run.py").chmod(0o600)


def compile_it(machine: Machine) -> None:
    (machine.site / "trap/__pycache__").mkdir()
    (machine.site / "trap/__pycache__/run.cpython-311.pyc").write_text("compiled")


def install_again(machine: Machine) -> None:
    info = install(machine.site, "trap", "1.3.0", FILES, requires=["numpy"], installer="uv")
    (info / "REQUESTED").touch()
    (info / "direct_url.json").write_text('{"url": "file:///tmp/trap.whl", "archive_info": {}}')


def install_something_else(machine: Machine) -> None:
    install(machine.site, "other", "1.0", {"other/__init__.py": ""})


def open_in_an_editor(machine: Machine) -> None:
    (machine.site / "trap/.run.py.swp").touch()
    (machine.site / "trap/run.py~").touch()


@pytest.mark.parametrize(
    "happen",
    [
        touch,
        change_mode,
        compile_it,
        install_again,
        install_something_else,
        open_in_an_editor,
    ],
)
def test_what_changes_nothing_is_the_same(machine: Machine, happen: Callable[[Machine], None]) -> None:
    before = machine.fingerprint()
    happen(machine)
    assert machine.fingerprint() == before


# --- an effect ------------------------------------------------------------------------------------------------------


def upgrade(machine: Machine) -> None:
    install(machine.site, "trap", "1.4.0", FILES, requires=["numpy"])


def rebuild_under_the_same_version(machine: Machine) -> None:
    install(machine.site, "trap", "1.3.0", {**FILES, "trap/run.py": "y = 3\n"}, requires=["numpy"])


def add_a_module(machine: Machine) -> None:
    (machine.site / "trap/local.py").write_text("")


def upgrade_a_dependency(machine: Machine) -> None:
    install(machine.site, "numpy", "2.1", {"numpy/__init__.py": ""})


def rebuild_a_dependency_under_the_same_version(machine: Machine) -> None:
    install(machine.site, "numpy", "2.0", {"numpy/__init__.py": "x = 1\n"})


def edit_the_celeryconfig(machine: Machine) -> None:
    machine.celeryconfig.write_text("broker_url = 'amqp://'\n")


def use_another_interpreter(machine: Machine) -> None:
    machine.answer = replace(machine.answer, identity="python 3.12")


@pytest.mark.parametrize(
    "happen",
    [
        upgrade,
        rebuild_under_the_same_version,
        add_a_module,
        upgrade_a_dependency,
        rebuild_a_dependency_under_the_same_version,
        edit_the_celeryconfig,
        use_another_interpreter,
    ],
)
def test_what_would_run_differently_is_another(machine: Machine, happen: Callable[[Machine], None]) -> None:
    before = machine.fingerprint()
    happen(machine)
    assert machine.fingerprint() != before


def test_an_editable_install_counts_by_its_source(machine: Machine) -> None:
    source = machine.home / "tree"
    (source / "trap").mkdir(parents=True)
    (source / "trap/__init__.py").write_text("one")
    uninstall(machine.site, "trap")
    install_editable(machine.site, source, "trap", "1.4.dev0", top_level=["trap"])
    machine.answer = replace(machine.answer, paths=(str(machine.site), str(source)))
    before = machine.fingerprint()
    disk = machine.look().disk
    assert {f"tree{source}/trap/__init__.py"} == {f.path for f in disk.files if "/trap/" in f.path}
    assert disk.roots == (str(source),)
    (source / "trap/__init__.py").write_text("two")
    assert machine.fingerprint() != before


# --- the table ------------------------------------------------------------------------------------------------------


def names_changed(machine: Machine, happen: Callable[[Machine], None], loaded: frozenset[str] = frozenset()) -> str:
    before = machine.look(loaded=loaded)
    happen(machine)
    after = machine.look(loaded=loaded)
    assert before.finding.fingerprint != after.finding.fingerprint, "a look has to tell, heard or not"
    found = before.disk.distributions, after.disk.distributions
    return sentence(changes(*found, {*found[0], *found[1]}))


def upgrade_the_interpreter(machine: Machine) -> None:
    machine.answer = replace(machine.answer, identity="python 3.11.9", version="3.11.9")


def patch_the_standard_library(machine: Machine) -> None:
    (machine.home / "lib/ssl.py").write_text("patched = True\n")


@pytest.mark.parametrize(
    ("happen", "words"),
    [
        (upgrade, "trap 1.3.0 -> 1.4.0"),
        (add_a_module, "trap 1.3.0, other content"),
        (upgrade_a_dependency, "numpy 2.0 -> 2.1"),
        (rebuild_a_dependency_under_the_same_version, "numpy 2.0, other content"),
        (lambda machine: uninstall(machine.site, "numpy"), "numpy 2.0 -> absent"),
        (install_something_else, "other absent -> 1.0"),
        (edit_the_celeryconfig, "the celeryconfig changed"),
        (upgrade_the_interpreter, "python 3.11.2 -> 3.11.9"),
        (patch_the_standard_library, "python 3.11.2, other content"),
    ],
)
def test_the_table_names_what_changed(machine: Machine, happen: Callable[[Machine], None], words: str) -> None:
    (machine.home / "lib").mkdir()
    (machine.home / "lib/ssl.py").write_text("patched = False\n")
    machine.answer = replace(machine.answer, version="3.11.2", standard=(str(machine.home / "lib"),))
    assert names_changed(machine, happen) == words


def test_of_what_has_no_record_the_files_count_once_a_worker_has_loaded_it(machine: Machine) -> None:
    def package(content: str) -> Callable[[Machine], None]:
        def write(machine: Machine) -> None:
            info = machine.site / "yaml-6.0.egg-info"
            info.mkdir(exist_ok=True)
            (info / "PKG-INFO").write_text("Name: yaml\nVersion: 6.0\n")
            (machine.site / "yaml.py").write_text(content)

        return write

    package("one")(machine)
    assert machine.look().disk.distributions["yaml"] == Content("6.0", ""), "it is not read in vain"
    assert names_changed(machine, package("two"), frozenset({"yaml"})) == "yaml 6.0, other content"


def test_the_source_tree_of_an_editable_dependency_is_listened_to_and_its_commit_is_named(machine: Machine) -> None:
    source, git = machine.home / "tree", machine.home / "tree/.git"
    (source / "numpy").mkdir(parents=True)
    uninstall(machine.site, "numpy")
    install_editable(machine.site, source, "numpy", "2.0", top_level=["numpy"])
    machine.answer = replace(machine.answer, paths=(str(machine.site), str(source)))

    def at(commit: str) -> Callable[[Machine], None]:
        def check_out(machine: Machine) -> None:
            git.mkdir(exist_ok=True)
            (git / "HEAD").write_text("ref: refs/heads/main\n")
            (git / "packed-refs").write_text(f"# pack-refs\n{commit * 40} refs/heads/main\n")
            (source / "numpy/__init__.py").write_text(f"commit = {commit!r}\n")

        return check_out

    at("a")(machine)
    heard: list[Places] = []

    def arm(places: Places) -> frozenset[Path]:
        heard.append(places)
        return frozenset()

    machine.look(arm=arm)
    assert source / "numpy" in heard[0].trees
    assert names_changed(machine, at("b")) == "numpy 2.0, commit aaaaaaaa -> bbbbbbbb"


def test_the_first_metadata_on_the_path_is_what_is_imported(machine: Machine) -> None:
    second = machine.home / "second/site-packages"
    install(second, "numpy", "1.0", {"numpy/__init__.py": "old"})
    machine.answer = replace(machine.answer, paths=(*machine.answer.paths, str(second)))
    assert machine.look().disk.distributions["numpy"].version == "2.0"


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_a_file_written_a_moment_ago_makes_it_young(machine: Machine) -> None:
    (machine.site / "trap/local.py").write_text("")
    assert 0 <= machine.look().finding.age < 60
    tomorrow = time.time() + 86400
    os.utime(machine.site / "trap/local.py", (tomorrow, tomorrow))
    assert machine.look().finding.age == math.inf, "a file of the future says nothing"


def test_what_is_not_installed_is_broken_and_named(machine: Machine) -> None:
    uninstall(machine.site, "trap")
    finding = machine.look().finding
    assert finding.verdict is Verdict.BROKEN
    remedy = "install it there, or correct [watch] distributions"
    assert finding.reason == f"trap cannot be found by {machine.home}/python; {remedy}"


def test_in_the_middle_of_an_upgrade_it_is_unfinished_even_though_it_is_gone(machine: Machine) -> None:
    (machine.site / "trap").rename(machine.site / "~rap")
    uninstall(machine.site, "trap")
    finding = machine.look().finding
    assert finding.verdict is Verdict.UNFINISHED
    assert "~rap is there" in finding.reason


def test_what_is_away_for_the_time_of_an_upgrade_is_not_forgotten_and_what_is_uninstalled_is(machine: Machine) -> None:
    read: list[str] = []

    def note(file: str) -> bytes:
        read.append(file)
        return digest(file)

    machine.surveyor._hasher = Hasher(read_digest=note, racy=0)
    there, info = machine.site / "trap", machine.site / "trap-1.3.0.dist-info"
    machine.look()
    assert str(there / "run.py") in read
    there.rename(machine.site / "~rap")
    assert machine.look().finding.verdict is Verdict.UNFINISHED
    (machine.site / "~rap").rename(there)
    read.clear()
    assert machine.look().finding.verdict is Verdict.WHOLE
    assert read == []
    there.rename(machine.home / "aside")
    info.rename(machine.home / "aside.dist-info")
    assert machine.look().finding.verdict is Verdict.BROKEN
    (machine.home / "aside").rename(there)
    (machine.home / "aside.dist-info").rename(info)
    machine.look()
    assert str(there / "run.py") in read


def test_the_stash_of_a_dependency_counts_from_the_first_look_on(machine: Machine) -> None:
    (machine.site / "~umpy-2.0.dist-info").mkdir()
    assert "pip is replacing numpy" in machine.look().finding.reason


def test_an_upgrade_of_celery_is_a_change_though_the_application_does_not_require_it(machine: Machine) -> None:
    install(machine.site, "celery", "5.5", {"celery/__init__.py": ""}, requires=["kombu"])
    install(machine.site, "kombu", "5.5", {"kombu/__init__.py": ""})
    before = machine.fingerprint()
    uninstall(machine.site, "kombu")
    install(machine.site, "kombu", "5.6", {"kombu/__init__.py": ""})
    assert machine.fingerprint() != before
    (machine.site / "~elery").mkdir()
    assert "pip is replacing celery" in machine.look().finding.reason


def test_the_stash_of_a_dependency_counts_while_what_requires_it_is_gone(machine: Machine) -> None:
    machine.look()
    uninstall(machine.site, "trap")
    (machine.site / "~umpy-2.0.dist-info").mkdir()
    for _ in range(2):
        assert "pip is replacing numpy" in machine.look().finding.reason


def test_metadata_without_any_file_of_the_package_is_broken(machine: Machine) -> None:
    uninstall(machine.site, "trap")
    info = machine.site / "trap-1.3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: trap\nVersion: 1.3.0\n")
    (info / "INSTALLER").write_text("rpm\n")
    finding = machine.look().finding
    assert finding.verdict is Verdict.BROKEN
    assert finding.reason.endswith("none of its files can be found; install it again")


def test_a_celeryconfig_that_no_worker_could_load_is_broken(machine: Machine) -> None:
    machine.answer = replace(machine.answer, problem="cannot load celeryconfig.py:3: ValueError: no")
    found = machine.look()
    assert (found.finding.verdict, found.finding.reason) == (Verdict.BROKEN, machine.answer.problem)
    assert found.disk.versions == {"trap": "1.3.0"}


def test_an_interpreter_that_says_nothing_is_broken(machine: Machine) -> None:
    machine.answer = Answer(problem="cannot run python: no such file or directory")
    assert machine.look().finding.reason == machine.answer.problem


def test_a_celeryconfig_that_changed_since_it_was_executed_is_unfinished(machine: Machine) -> None:
    answer = replace(machine.answer, celeryconfig="another digest")
    finding = machine.surveyor.look(answer, lambda places: (), wall=time.time(), fresh=False).finding
    assert finding.verdict is Verdict.UNFINISHED
    assert "changed while it was read" in finding.reason


def test_files_that_vanish_under_the_look_make_it_unfinished(machine: Machine) -> None:
    def vanish(places: Places) -> frozenset[Path]:
        (machine.site / "trap/data.csv").unlink(missing_ok=True)
        return frozenset()

    with (machine.site / "trap-1.3.0.dist-info/RECORD").open("w") as record:
        record.write("trap/__init__.py,,\n")  # data.csv is there, but nobody expects it
    finding = machine.look(arm=vanish).finding
    assert finding.verdict is Verdict.UNFINISHED
    assert finding.reason == f"files are being replaced: {machine.site}/trap/data.csv vanished"


def test_what_cannot_be_read_is_broken_and_says_why(machine: Machine) -> None:
    (machine.site / "trap/run.py").unlink()
    (machine.site / "trap/run.py").symlink_to("run.py")
    finding = machine.look().finding
    assert finding.verdict is Verdict.BROKEN
    assert finding.reason == f"cannot read {machine.site}/trap/run.py: too many levels of symbolic links"


@pytest.mark.parametrize("name", ["trap/run.py", "trap"])
def test_where_rights_are_missing_it_says_who_needs_them(machine: Machine, name: str) -> None:
    with closed(machine.site / name):
        finding = machine.look().finding
    assert finding.verdict is Verdict.BROKEN
    user = name_of_user(os.geteuid())
    assert finding.reason == f"cannot read {machine.site}/{name}: permission denied; let user {user} read it"


def test_compiled_files_that_cannot_be_read_are_not_missed(machine: Machine) -> None:
    (machine.site / "trap/__pycache__").mkdir()
    with closed(machine.site / "trap/__pycache__"):
        assert machine.look().finding.verdict is Verdict.WHOLE


# --- listening ------------------------------------------------------------------------------------------------------


def test_it_looks_again_at_what_it_only_now_listens_to(machine: Machine) -> None:
    asked: list[Places] = []

    def arm(places: Places) -> frozenset[Path]:
        asked.append(places)
        if len(asked) == 1:  # written after it was found, and before it was listened to
            (machine.site / "trap/late.py").write_text("")
        return places.all if len(asked) < 3 else frozenset()

    files = {file.path for file in machine.look(arm=arm).disk.files}
    assert len(asked) == 3
    assert "code/trap/late.py" in files


def test_folders_that_never_stop_changing_do_not_hold_a_look_up(machine: Machine) -> None:
    asked: list[Places] = []

    def arm(places: Places) -> frozenset[Path]:
        asked.append(places)
        return places.all

    machine.look(arm=arm)
    assert len(asked) == 5


@pytest.mark.parametrize(("changed", "seen"), [("trap", True), ("rope", False)])
def test_what_was_listened_to_before_is_not_located_once_more(machine: Machine, changed: str, seen: bool) -> None:
    """Its change is heard."""
    asked = 0

    def arm(places: Places) -> frozenset[Path]:
        nonlocal asked
        asked += 1
        if asked == 1:
            (machine.site / changed / "late.py").write_text("")
        return frozenset({machine.site / "trap"} if asked == 1 else ())

    install(machine.site, "rope", "1.0", {"rope/__init__.py": ""})
    machine.surveyor = Surveyor(machine.home / "bin/python", machine.celeryconfig, ["trap", "rope"])
    files = {file.path for file in machine.look(arm=arm).disk.files}
    assert asked == 2
    assert {"code/trap/__init__.py", "code/rope/__init__.py"} < files
    assert (f"code/{changed}/late.py" in files) is seen


# --- what the watched ones require ----------------------------------------------------------------------------------

MODULES = {f"depa/m{number}.py": f"x = {number}\n" for number in range(62)}


@pytest.fixture
def held(machine: Machine) -> Machine:
    """Trap requires depa; both are whole, and what was seen has settled."""
    install(machine.site, "trap", "1.3.0", FILES, requires=["depa"])
    install(machine.site, "depa", "1.0", {"depa/__init__.py": "", **MODULES})
    machine.settle()
    return machine


def halve(machine: Machine) -> None:
    """As a pip leaves it that was killed while it removed depa."""
    (machine.site / "depa-1.0.dist-info").rename(machine.site / "~epa-1.0.dist-info")
    for number in range(40):
        (machine.site / f"depa/m{number}.py").unlink()


def test_half_a_dependency_is_unfinished_at_every_look_until_it_is_repaired(held: Machine) -> None:
    halve(held)
    for _ in range(3):
        finding = held.look().finding
        assert finding.verdict is Verdict.UNFINISHED
        assert (
            f"pip is replacing depa, or was killed while it did: {held.site}/~epa-1.0.dist-info is there"
            in finding.reason
        )
    install(held.site, "depa", "1.0", {"depa/__init__.py": "", **MODULES})
    assert held.look().finding.verdict is Verdict.WHOLE


def test_half_a_dependency_is_unfinished_for_a_trapd_that_starts(held: Machine) -> None:
    """It does not know what was required before: what is required now, and is not there, has its stash looked for."""
    halve(held)
    again = replace(held, surveyor=Surveyor(held.home / "python", held.celeryconfig, ["trap"]))
    assert "~epa-1.0.dist-info is there" in again.look().finding.reason


@pytest.mark.parametrize("start", ["first", "later"])
@pytest.mark.parametrize("name", ["depa/m7.py", "depa-1.0.dist-info/METADATA", "depa"])
def test_a_dependency_that_cannot_be_read_is_unfinished_until_somebody_takes_it_as_it_is(
    held: Machine, name: str, start: str
) -> None:
    """It would not be copied, and a task that imports it late would fail. Nor may a first start pass over that."""
    if start == "first":
        held = replace(held, surveyor=Surveyor(held.home / "python", held.celeryconfig, ["trap"]), condition=None)
    with closed(held.site / name):
        finding = held.look().finding
        assert finding.verdict is Verdict.UNFINISHED
        assert finding.reason.startswith(f"cannot read {held.site}/{name}")
        assert ": permission denied" in finding.reason
        remedy = f"; let user {name_of_user(os.geteuid())} read it, or take it as it is with trapctl retry"
        assert finding.reason.endswith(remedy)
        assert held.surveyor.take_as_it_is().startswith(f"cannot read {held.site}/{name}")
        taken = held.look()
        assert taken.finding.verdict is Verdict.WHOLE
        assert [why for why in taken.warnings.values() if "permission denied" in why]
    whole = held.look()
    assert whole.finding.verdict is Verdict.WHOLE
    assert whole.disk.fingerprint != taken.disk.fingerprint, "with the file, it is another generation"


def test_a_dependency_with_a_link_to_itself_is_broken_and_named(held: Machine) -> None:
    (held.site / "depa/m7.py").unlink()
    (held.site / "depa/m7.py").symlink_to("m7.py")
    finding = held.look().finding
    assert finding.verdict is Verdict.BROKEN
    assert finding.reason == f"cannot read {held.site}/depa/m7.py: too many levels of symbolic links"


def test_a_dependency_that_is_no_longer_required_stays_needed_until_the_change_has_settled(held: Machine) -> None:
    halve(held)
    install(held.site, "trap", "1.4.0", FILES)
    assert "~epa-1.0.dist-info is there" in held.look().finding.reason, "this pip has more to do"
    (held.site / "~epa-1.0.dist-info").rename(held.site / "aside")
    held.settle()
    (held.site / "aside").rename(held.site / "~epa-1.0.dist-info")
    assert held.look().finding.verdict is Verdict.WHOLE


def cut_a_module(machine: Machine) -> str:
    (machine.site / "depa/m7.py").write_text("x = 1")
    return "depa/m7.py has 5 bytes, not 6 as installed"


def lose_modules(machine: Machine) -> str:
    for number in range(40):
        (machine.site / f"depa/m{number}.py").unlink()
    return "depa/m0.py is missing, and 39 more of its files are not as installed"


def lose_record(machine: Machine) -> str:
    (machine.site / "depa-1.0.dist-info/RECORD").unlink()
    return "depa is not installed to its end: depa-1.0.dist-info has no RECORD"


def have_two(machine: Machine) -> str:
    (machine.site / "depa-1.1.dist-info").mkdir()
    return "two versions of depa are in"


def unpack(machine: Machine) -> str:
    (machine.site / "depa-1.0.dist-info/METADATA.dpkg-new").touch()
    return "depa-1.0.dist-info/METADATA.dpkg-new; install its package again"


@pytest.mark.parametrize("happen", [cut_a_module, lose_modules, lose_record, have_two, unpack])
def test_a_dependency_that_is_not_as_it_was_installed_any_more_is_unfinished(
    held: Machine, happen: Callable[[Machine], str]
) -> None:
    before = held.look().finding.fingerprint
    expected = happen(held)
    for _ in range(2):
        finding = held.look().finding
        assert finding.verdict is Verdict.UNFINISHED
        assert expected in finding.reason
    assert finding.fingerprint != before or happen is unpack, "so that a regular look finds it without an event"


@pytest.mark.parametrize("happen", [cut_a_module, lose_modules, lose_record])
def test_a_dependency_that_was_patched_or_pruned_before_is_taken_as_it_is(
    machine: Machine, happen: Callable[[Machine], str]
) -> None:
    """Images without tests, a patched library: nobody would want them to be held back for ever."""
    install(machine.site, "trap", "1.3.0", FILES, requires=["depa"])
    install(machine.site, "depa", "1.0", {"depa/__init__.py": "", **MODULES})
    happen(machine)
    machine.settle()
    install(machine.site, "trap", "1.4.0", FILES, requires=["depa"])
    assert machine.look().finding.verdict is Verdict.WHOLE
    if happen is not lose_record:
        (machine.site / "depa/m50.py").unlink()
        assert "depa" in machine.look().finding.reason, "this is another fault"


# --- requirements ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pinned(machine: Machine) -> Machine:
    """Trap requires depa in one version, which is there."""
    install(machine.site, "trap", "1.3.0", FILES, requires=["depa==1.0"])
    install(machine.site, "depa", "1.0", {"depa/__init__.py": ""})
    return machine


UNMET = "trap requires depa==1.0, but 1.1 is installed"


def test_a_requirement_that_was_satisfied_and_is_not_any_more_is_broken(pinned: Machine) -> None:
    """A pip was killed between two packages, each of which is whole."""
    pinned.settle()
    install(pinned.site, "depa", "1.1", {"depa/__init__.py": ""})
    for _ in range(2):
        finding = pinned.look().finding
        assert finding.verdict is Verdict.BROKEN
        assert finding.reason == f"{UNMET}; install what fits, or take it as it is with trapctl retry"
    uninstall(pinned.site, "depa")
    assert pinned.look().finding.reason.startswith("trap requires depa==1.0, which is not installed; ")
    install(pinned.site, "trap", "1.4.0", FILES, requires=["depa==1.1"])
    install(pinned.site, "depa", "1.0", {"depa/__init__.py": ""})
    assert pinned.look().finding.reason.startswith("trap requires depa==1.1, but 1.0 is installed; "), "the other order"
    install(pinned.site, "depa", "1.1", {"depa/__init__.py": ""})
    assert pinned.look().finding.verdict is Verdict.WHOLE


def test_a_requirement_that_was_unsatisfied_already_holds_nothing_back(pinned: Machine) -> None:
    install(pinned.site, "depa", "1.1", {"depa/__init__.py": ""})
    pinned.settle()  # a first start takes what is there
    assert list(pinned.look().warnings.values()) == [UNMET]
    install(pinned.site, "trap", "1.4.0", FILES, requires=["depa==1.0"])
    assert pinned.look().finding.verdict is Verdict.WHOLE
    install(pinned.site, "trap", "1.5.0", FILES, requires=["depa==1.0", "depb"])
    assert pinned.look().finding.verdict is Verdict.WHOLE, "a new requirement was never satisfied either"


def test_what_a_person_takes_as_it_is_holds_nothing_back_any_more(pinned: Machine) -> None:
    pinned.settle()
    assert pinned.surveyor.take_as_it_is() == ""
    install(pinned.site, "depa", "1.1", {"depa/__init__.py": ""})
    (pinned.site / "depa/__init__.py").unlink()
    assert pinned.look().finding.verdict is Verdict.UNFINISHED
    taken = pinned.surveyor.take_as_it_is()
    assert taken == f"depa is not whole: {pinned.site}/depa/__init__.py is missing, {UNMET}"
    found = pinned.look()
    assert found.finding.verdict is Verdict.WHOLE
    assert found.disk.satisfied == ()
    install(pinned.site, "depa", "1.0", {"depa/__init__.py": ""})
    pinned.settle()
    assert pinned.condition == condition(replace(found.disk, satisfied=("trap requires depa",), altered=()))


def test_where_requirements_cannot_be_told_nothing_is_held_back(
    pinned: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned.settle()
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    install(pinned.site, "depa", "1.1", {"depa/__init__.py": ""})
    found = pinned.look()
    assert (found.finding.verdict, found.disk.satisfied) == (Verdict.WHOLE, None)


def test_a_patched_library_counts_by_what_is_in_it(held: Machine) -> None:
    """Its RECORD stays the same; a person takes it as it is."""
    before = held.fingerprint()
    (held.site / "depa/m7.py").write_text("patch\n")
    held.look()
    assert held.surveyor.take_as_it_is()
    held.settle()
    patched = held.fingerprint()
    assert patched != before
    (held.site / "depa/m7.py").write_text("again\n")
    assert held.look().finding.verdict is Verdict.UNFINISHED, "another patch, of the same size"
    held.surveyor.take_as_it_is()
    assert held.fingerprint() not in (before, patched)
    install(held.site, "depa", "1.0", {"depa/__init__.py": "", **MODULES})
    assert held.fingerprint() == before


def patch(site: Path) -> None:
    (site / "trap/run.py").write_text("y = 3\n")


def prune(site: Path) -> None:
    (site / "trap/data.csv").unlink()


def remove_record(site: Path) -> None:
    (site / "trap-1.3.0.dist-info/RECORD").unlink()


def spoil_record(site: Path) -> None:
    """The wheel itself has a RECORD that is not true: pip accepts that."""
    record = site / "trap-1.3.0.dist-info/RECORD"
    record.write_text(re.sub(r"(trap/run.py,sha256=)[^,]*", r"\1AAAA", record.read_text()))


def describe_twice(site: Path) -> None:
    shutil.copytree(site / "trap-1.3.0.dist-info", site / "trap-1.4.0.dist-info")


@pytest.mark.parametrize("alter", [patch, prune, remove_record, spoil_record, describe_twice])
def test_a_watched_distribution_that_is_not_as_recorded_is_unfinished_until_somebody_takes_it_as_it_is(
    held: Machine, alter: Callable[[Path], None]
) -> None:
    alter(held.site)
    found = held.look().finding
    assert found.verdict is Verdict.UNFINISHED
    assert found.reason.endswith(", or take it as it is with trapctl retry")
    assert held.surveyor.take_as_it_is() == found.reason.partition(";")[0]
    held.settle()
    taken = held.fingerprint()

    held.surveyor = Surveyor(held.home / "python", held.celeryconfig, ["trap"])  # as after a restart of trapd
    assert held.fingerprint() == taken
    assert list(held.look().warnings.values()) == [
        found.reason.removesuffix(", or take it as it is with trapctl retry")
    ]
    (held.site / "trap/__init__.py").unlink()
    assert held.look().finding.verdict is (Verdict.WHOLE if alter is remove_record else Verdict.UNFINISHED), (
        "more of it"
    )


def test_a_first_start_takes_no_half_of_a_watched_distribution_but_by_request(machine: Machine) -> None:
    patch(machine.site)
    assert machine.condition is None
    assert machine.look().finding.verdict is Verdict.UNFINISHED
    assert machine.surveyor.take_as_it_is()
    assert machine.look().finding.verdict is Verdict.WHOLE


def test_a_watched_distribution_counts_by_its_files_whether_or_not_its_record_is_true(held: Machine) -> None:
    before = held.fingerprint()
    spoil_record(held.site)
    held.look()
    held.surveyor.take_as_it_is()
    assert held.fingerprint() == before


def test_code_whose_metadata_is_gone_is_unfinished_until_somebody_takes_it_as_it_is(held: Machine) -> None:
    """A uv that was killed leaves that, and a pip that was killed after an uninstall."""
    shutil.rmtree(held.site / "trap-1.3.0.dist-info")
    (held.site / "trap/run.py").unlink()
    found = held.look()
    assert found.finding.verdict is Verdict.UNFINISHED
    why = f"trap is not installed to its end: its code is in {held.site}, and its metadata is not"
    assert found.finding.reason.startswith(f"{why}; run pip install --force-reinstall --no-deps trap, or take it ")
    assert why in held.surveyor.take_as_it_is()
    assert held.look().finding.verdict is Verdict.WHOLE


def test_loaded_code_whose_metadata_is_gone_is_unfinished_too(held: Machine) -> None:
    """No metadata requires it, but workers import it."""
    install(held.site, "rope", "1.0", {"rope/__init__.py": "", "rope/knot.py": ""})
    held.settle()
    shutil.rmtree(held.site / "rope-1.0.dist-info")
    assert held.look().finding.verdict is Verdict.WHOLE
    finding = held.look(loaded=frozenset({"rope"})).finding
    assert finding.verdict is Verdict.UNFINISHED
    assert finding.reason.startswith("rope is not installed to its end: ")
    shutil.rmtree(held.site / "rope")
    assert held.look(loaded=frozenset({"rope"})).finding.verdict is Verdict.WHOLE, "it was uninstalled"


def test_code_that_never_had_metadata_or_is_a_projects_now_holds_nothing_back(held: Machine) -> None:
    shutil.rmtree(held.site / "trap-1.3.0.dist-info")
    assert replace(held, condition=None).look().finding.verdict is Verdict.WHOLE, "a first start takes what is there"
    project = held.home / "project"
    shutil.move(held.site / "trap", project / "trap")
    held.answer = replace(held.answer, paths=(str(project), *held.answer.paths))
    assert held.look().finding.verdict is Verdict.WHOLE


def test_nothing_is_remembered_of_versions_that_are_gone(machine: Machine) -> None:
    """After 200 upgrades in a row trapd was 3.7 MB larger. How much is remembered of what is there depends on the speed
    of the machine: a file that was just written may be so again within the same moment (RACY)."""
    contents, names = machine.surveyor._contents, set[str]()
    for number in range(4, 10):
        install(machine.site, "trap", f"1.{number}.0", FILES, requires=["numpy"])
        install(machine.site, "numpy", f"2.{number}", {"numpy/__init__.py": ""})
        machine.settle()
        remembered = {*map(str, _cache), *contents.layouts._known, *contents._records}
        assert [path for path in remembered if not Path(path).exists()] == []
        names |= remembered
    there = len(_cache) + len({*contents.layouts._known, *contents._records})
    assert len(names) >= 6 * 2, "each version was remembered"
    assert there <= 2 * 2
