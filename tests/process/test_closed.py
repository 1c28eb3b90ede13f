"""A process of a generation's own environment, and what it starts in its turn, load nothing that is installed."""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support import environments, file_systems, maker_in_process
from tests.support.builders import application
from tests.support.looks import look
from tests.support.rights import closed
from tests.support.site_packages import install, install_editable, make_old
from trapd.errors import SnapshotError
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Generation
from trapd.mount_table import is_noexec

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
TELL = "import json, sys, {module} as found; print(json.dumps([found.__file__, sys.prefix]))"
FILES = {
    "trap/__init__.py": "VERSION = 'OLD'\n",
    "trap/__main__.py": "import json, sys, trap\nprint(json.dumps([trap.__file__, sys.prefix]))\n",
    "trap/where.py": "import sys, trap\ndef tell(queue):\n    queue.put([trap.__file__, sys.prefix])\n",
    "trap/data.csv": "OLD",
}
SPAWN = """
    import json, multiprocessing
    from trap.where import tell

    if __name__ == "__main__":
        context = multiprocessing.get_context("spawn")
        queue = context.SimpleQueue()
        child = context.Process(target=tell, args=(queue,))
        child.start()
        print(json.dumps(queue.get()))
        child.join()
    """
JOBLIB = """
    import json
    from joblib import Parallel, delayed

    def tell():
        import sys, trap
        return [trap.__file__, sys.prefix]

    if __name__ == "__main__":
        print(json.dumps(Parallel(n_jobs=2)(delayed(tell)() for _ in range(2))[0]))
    """
REDIRECTOR = """
    import sys
    from importlib.util import spec_from_file_location

    class Finder:
        _redirections = {}

        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name in cls._redirections:
                return spec_from_file_location(name, cls._redirections[name])

        @classmethod
        def start(cls, name, file):
            cls._redirections[name] = file
            sys.meta_path.insert(0, cls)
    """


class Home:
    """A virtual environment with a watched distribution, ``trap``, and one that nobody names, ``other``."""

    def __init__(self, folder: Path, system_site_packages: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.venv = folder, folder / "venv"
        environments.bare(self.venv, system_site_packages)
        self.site, self.python = self.venv / SITE, self.venv / "bin/python"
        self.environment: dict[str, str] = {}
        self.celeryconfig = folder / "celeryconfig.py"
        self.celeryconfig.write_text("broker_url = 'memory://'\n")
        make_old(self.celeryconfig)
        install(self.site, "other", "1.0", {"other.py": "VERSION = 'OLD'\n"})

    def make(self, number: int = 1) -> Path:
        """A generation of what is installed."""
        disk = look(self.python, self.celeryconfig, "environment", self.environment)
        (self.folder / "generations").mkdir(exist_ok=True)
        generation = Generation(number, disk.fingerprint, disk.versions, {}, "a test", "tests", 0.0)
        asyncio.run(self.store().make(generation, disk, [], application(python=self.python)))
        return self.folder / "generations" / str(number)

    def copy(self, source: int, number: int) -> Path:
        generation = Generation(number, "f", {}, {}, "a test", "tests", 0.0)
        asyncio.run(self.store().copy(generation, source, []))
        return self.folder / "generations" / str(number)

    def store(self) -> SnapshotStore:
        return SnapshotStore(self.folder / "generations")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def run(generation: Path, *arguments: str, **variables: str) -> Any:
    """The answer of a process in the generation's environment."""
    command = [str(generation / "env/bin/python"), "-P", *arguments]
    done = subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(dedent(text))
    return str(path)


def test_a_process_and_its_children_load_nothing_that_is_installed(home: Home) -> None:
    install(home.site, "trap", "1.0", FILES)
    made = home.make()
    shutil.rmtree(home.site)  # as soon as anything asked for it, there would be an error
    own = str(made / "env")
    expected = [f"{own}/{SITE}/trap/__init__.py", own]
    child = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
    assert run(made, "-c", TELL.format(module="trap")) == expected
    assert run(made, "-c", child, "-c", TELL.format(module="trap")) == expected
    assert run(made, "-c", child, "-m", "trap") == expected
    assert run(made, script(home.folder, SPAWN)) == expected
    assert run(made, "-c", TELL.format(module="other")) == [f"{own}/{SITE}/other.py", own]


def test_joblibs_children_load_nothing_that_is_installed(home: Home) -> None:
    install(home.site, "trap", "1.0", FILES)
    for name in ("joblib", "cloudpickle"):
        shutil.copytree(Path(pytest.importorskip(name).__file__).parent, home.site / name)
    made = home.make()
    shutil.rmtree(home.site)
    assert run(made, script(home.folder, JOBLIB)) == [f"{made}/env/{SITE}/trap/__init__.py", f"{made}/env"]


def test_entry_points_are_read_from_the_copy(home: Home) -> None:
    """A plug-in that is installed later, or taken away, is none of the old generation's; its children's, too."""
    points = "[trap.plugins]\nhull = trap.where:tell\n"
    install(home.site, "trap", "1.0", {**FILES, "trap-1.0.dist-info/entry_points.txt": points})
    made = home.make()
    install(
        home.site, "keel", "1.0", {"keel.py": "", "keel-1.0.dist-info/entry_points.txt": points.replace("hull", "x")}
    )
    new = home.make(2)
    shutil.rmtree(home.site)
    ask = (
        "import json, importlib.metadata as m; found = m.entry_points(group='trap.plugins');"
        "print(json.dumps([[p.name, p.dist.name, p.load().__code__.co_filename] for p in found]))"
    )
    child = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
    own = ["hull", "trap", f"{made}/env/{SITE}/trap/where.py"]
    assert run(made, "-c", ask) == run(made, "-c", child, "-c", ask) == [own]
    plugins = sorted((name, owner) for name, owner, _ in run(new, "-c", ask))
    assert plugins == [("hull", "trap"), ("x", "keel")]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_an_extension_finds_its_libraries_beside_its_own_copy(home: Home) -> None:
    """By RUNPATH: conda's way, three folders up, and that of auditwheel, in a folder beside the package."""
    build, packages = home.folder / "build", home.site / "trap"
    install(home.site, "trap", "1.0", {**FILES, "trap.libs/readme": ""})
    build.mkdir()
    (build / "flag.c").write_text("int FLAG(void) { return 42; }\n")
    (build / "use.c").write_text("int up(void); int beside(void); int use(void) { return up() + beside(); }\n")
    links = []
    for name, folder in {"up": home.venv / "lib", "beside": home.site / "trap.libs"}.items():
        target = folder / f"lib{name}.so"
        command = ["cc", "-shared", "-fPIC", f"-DFLAG={name}", "-o", str(target), "flag.c"]
        subprocess.run([*command, f"-Wl,-soname,{target.name}"], cwd=build, check=True)
        links += [f"-L{folder}", f"-l{name}"]
    runpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../../..:$ORIGIN/../trap.libs"
    extension = packages / "use.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(extension), "use.c", *links, runpath], cwd=build, check=True)
    make_old(home.site)
    made = home.make()
    shutil.rmtree(home.site)
    look = """
        import ctypes, json, trap
        from pathlib import Path
        value = ctypes.CDLL(str(Path(trap.__file__).with_name("use.so"))).use()
        maps = {line.split()[-1] for line in open("/proc/self/maps") if line.rstrip().endswith((".so"))}
        print(json.dumps([value, sorted(path for path in maps if "libup" in path or "libbeside" in path)]))
        """
    value, libraries = run(made, script(home.folder, look))
    assert value == 84
    # what lies in the prefix and not in site-packages is no copy: docs/applications.md
    assert libraries == sorted([f"{made}/env/{SITE}/trap.libs/libbeside.so", str(home.venv / "lib/libup.so")])


@pytest.mark.parametrize("way", ["path", "finder", "editables", "link", "develop"])
def test_children_get_the_copy_of_a_source_tree_too(home: Home, way: str) -> None:
    source, name = home.folder / "src", "__editable___trap_finder"
    for path, text in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    make_old(source)
    finder = f"""
        import sys
        from importlib.util import spec_from_file_location
        MAPPING = {{"trap": "{source}/trap"}}
        class Finder:
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                if name in MAPPING:
                    return spec_from_file_location(name, MAPPING[name] + "/__init__.py")
        def install():
            sys.meta_path.insert(0, Finder)
        """
    match way:
        case "path":
            install_editable(home.site, source, "trap", "1.0", top_level=["trap"])
        case "finder":
            hooks = {f"{name}.py": dedent(finder), "__editable__.trap.pth": f"import {name}; {name}.install()\n"}
            install_editable(home.site, source, "trap", "1.0", top_level=["trap"], files=hooks)
        case "editables":  # as of hatch and pdm, where the files are named and not a folder
            install(home.site, "editables", "0.5", {"editables/redirector.py": dedent(REDIRECTOR)})
            start = f"from editables.redirector import Finder\nFinder.start('trap', '{source}/trap/__init__.py')\n"
            hooks = {"_trap.pth": "import _trap", "_trap.py": start}
            install_editable(home.site, source, "trap", "1.0", files=hooks)
        case "link":
            install_editable(home.site, source, "trap", "1.0", top_level=["trap"], files={"unused.pth": ""})
            (home.site / "trap").symlink_to(source / "trap")
        case "develop":
            (source / "trap.egg-info").mkdir()
            (source / "trap.egg-info/PKG-INFO").write_text("Metadata-Version: 2.1\nName: trap\nVersion: 1.0\n")
            (home.site / "easy-install.pth").write_text(f"{source}\n")
            make_old(source, home.site)
    made = home.make()
    for generation in (made, home.copy(1, 2)):
        child = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
        found, _ = run(generation, "-c", child, "-c", TELL.format(module="trap"))
        assert Path(found).resolve() == Path(f"{generation}/tree{source}/trap/__init__.py"), way


def test_a_source_tree_that_something_watched_requires_is_copied_too(home: Home) -> None:
    """A workspace: one member is watched, and needs another one."""
    install(home.site, "trap", "1.0", FILES, requires=["other"])
    source = home.folder / "other"
    source.mkdir()
    (source / "other.py").write_text("VERSION = 'OLD'\n")
    make_old(source)
    install_editable(home.site, source, "other", "1.0", top_level=["other"])
    made = home.make()
    assert run(made, "-c", TELL.format(module="other"))[0] == f"{made}/tree{source}/other.py"


def test_the_copy_stays_as_it_was_whatever_happens_to_what_is_installed(home: Home) -> None:
    install(home.site, "trap", "1.0", FILES)
    made = home.make()
    again = home.copy(1, 2)
    install(home.site, "trap", "2.0", {path: text.replace("OLD", "NEW") for path, text in FILES.items()})
    install(home.site, "other", "2.0", {"other.py": "VERSION = 'NEW'\n"})
    new = home.make(3)
    ask = (
        "import json, other, trap, importlib.metadata as m;"
        "from importlib.resources import files;"
        "print(json.dumps([other.VERSION, trap.VERSION, files('trap').joinpath('data.csv').read_text(),"
        "m.version('trap'), m.version('other')]))"
    )
    assert run(made, "-c", ask) == run(again, "-c", ask) == ["OLD", "OLD", "OLD", "1.0", "1.0"]
    assert run(new, "-c", ask) == ["NEW", "NEW", "NEW", "2.0", "2.0"]


def test_nothing_in_it_can_be_written_or_is_taken_for_somebody_elses(home: Home) -> None:
    install(home.site, "trap", "1.0", FILES)
    made = home.make()
    for path in [made / "env", *(made / "env").rglob("*")]:
        if not path.is_symlink():
            assert not path.stat().st_mode & 0o222, path
    asyncio.run(home.store().remove(1))
    assert not made.exists()
    assert not (home.folder / "kept").exists()
    assert [path.name for path in home.site.glob("trap/*.py")] != []


@pytest.mark.parametrize("virtual", [False, True], ids=["the system's own", "a virtual environment that sees them"])
def test_of_the_systems_packages_what_is_required_is_copied_and_the_rest_is_live(tmp_path: Path, virtual: bool) -> None:
    """Root's own folder of packages stands for that of the system: it is as much shared, and can be written here."""
    home = Home(tmp_path, system_site_packages=True)
    home.environment = {"PYTHONUSERBASE": str(tmp_path / "base")}
    shared = tmp_path / "base" / SITE
    trap = home.site if virtual else shared
    if not virtual:
        home.python = Path(sys._base_executable)  # type: ignore[attr-defined]
    install(trap, "trap", "1.0", {**FILES, "trap/__init__.py": "from dep import VERSION\n"}, requires=["dep", "ours"])
    install(shared, "dep", "1.0", {"dep.py": "VERSION = 'OLD'\n"})
    install(shared, "free", "1.0", {"free.py": "VERSION = 'OLD'\n"})
    packaged = install(shared, "ours", "1.0", {"ours/__init__.py": "VERSION = 'OLD'\n"})
    (packaged / "RECORD").unlink()  # as dpkg leaves it
    make_old(shared, packaged)
    generations = home.make(), home.copy(1, 2)
    for module in ("free.py", "dep.py", "ours/__init__.py"):
        (shared / module).write_text("VERSION = 'NEWER'\n")
    ask = "import json, dep, free, ours, trap; found = dep, ours, free, trap;"
    ask += "print(json.dumps([[module.__file__, module.VERSION] for module in found]))"
    child = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
    for generation in generations:
        own = f"{generation}/env/{SITE}"
        modules = [f"{own}/dep.py", f"{own}/ours/__init__.py", f"{shared}/free.py", f"{own}/trap/__init__.py"]
        expected = [[module, "NEWER" if "free" in module else "OLD"] for module in modules]
        assert run(generation, "-c", child, "-c", ask, **home.environment) == expected


def test_what_is_required_and_cannot_be_read_is_not_passed_over(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that imports it late would fail. What nothing requires is left out, and named."""
    install(home.site, "trap", "1.0", FILES, requires=["other"])
    install(home.site, "free", "1.0", {"free.py": ""})
    make_old(home.site)
    maker_in_process.use(monkeypatch)  # another process would have root's rights again
    for name in ("other.py", "other-1.0.dist-info/METADATA"):
        with closed(home.site / name), pytest.raises(AssertionError, match=f"cannot read .*/{name}: permission denied"):
            home.make()
    with closed(home.site / "free.py"):
        made = home.make()
    assert not (made / "env" / SITE / "free.py").exists()
    assert f"cannot read {home.site}/free.py: permission denied; the generation is made without it" in caplog.text


@pytest.fixture
def unloadable(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that is mounted with noexec."""
    with file_systems.tmpfs(tmp_path / "state", "noexec,size=8m") as folder:
        yield folder


def test_where_no_shared_object_can_be_loaded_no_generation_is_made_and_that_is_said(
    home: Home, unloadable: Path
) -> None:
    extension = Path(importlib.import_module("_ctypes").__file__ or "")
    shutil.copy(extension, unloadable / extension.name)
    with pytest.raises(OSError, match="failed to map segment"):
        ctypes.CDLL(str(unloadable / extension.name))
    install(home.site, "trap", "1.0", FILES)
    home.folder = unloadable
    with pytest.raises(SnapshotError, match=r"noexec.*change \[trapd\] state_directory"):
        home.make()
    assert is_noexec(unloadable / "not/yet")
    assert not is_noexec(home.venv)
