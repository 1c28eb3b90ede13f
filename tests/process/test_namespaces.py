"""Namespace packages in all their forms, with a part in a snapshot and another elsewhere: each comes from its place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import application
from tests.support.repetitions import rows
from tests.support.site_packages import install, install_editable, make_old
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Generation
from trapd.watch.interpreter import Answer
from trapd.watch.survey import Surveyor

# What the ``__init__`` of the namespace says. pkg_resources is not everywhere: what it does is below.
STYLES = {
    "native": None,
    "pkgutil": "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n",
    "pkg_resources": "__import__('pkg_resources').declare_namespace(__name__)\n",
    "with code, as Airflow's": "import pkgutil\n__path__ = pkgutil.extend_path(__path__, __name__)\nX = 1\n",
}
# What setuptools puts beside a namespace of pkg_resources in a wheel, instead of an ``__init__``; cut to what it does.
NSPKG = (
    "import sys, os, importlib.util, importlib.machinery; s = sys._getframe(1).f_locals['sitedir']; "
    "find = importlib.machinery.PathFinder.find_spec; "
    "m = sys.modules.setdefault('ns', importlib.util.module_from_spec(find('ns', [s]))); "
    "p = os.path.join(s, 'ns'); (p not in m.__path__) and m.__path__.append(p)\n"
)
PKG_RESOURCES = """
import pkgutil, sys

def declare_namespace(name):
    sys.modules[name].__path__ = pkgutil.extend_path(sys.modules[name].__path__, name)
"""
FINDER = """
import sys
from importlib.util import spec_from_file_location

MAPPING = {mapping!r}


class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            where = MAPPING[name]
            return spec_from_file_location(name, where + "/__init__.py", submodule_search_locations=[where])


sys.meta_path.append(Finder)
"""
ASK = """
import json, sys
from pathlib import Path
sys.path.insert(0, {trapd!r})
from trapd.worker import imports
code = [Path(folder) for folder in {code!r}]
imports.put_first(code)
imports.blind_finders({packages!r}, code)
import ns.mine.late, ns.other.late
try:
    import ns.more
except ImportError:
    pass
print(json.dumps({{
    "mine": ns.mine.late.__file__, "other": ns.other.late.__file__, "strays": imports.strays({packages!r}, code)
}}))
"""


class Installation:
    """``ns-mine`` and ``ns-other``, which share ``ns``, each in site-packages or in a source tree of its own."""

    def __init__(self, home: Path, init: str | None) -> None:
        self.home, self.site, self._init = home, home / "site-packages", init
        self.paths = [self.site]
        self.mapping: dict[str, str] = {}
        (home / "generations").mkdir()
        install(self.site, "pkg-resources", "1", {"pkg_resources.py": PKG_RESOURCES})
        (home / "celeryconfig.py").touch()
        make_old(home / "celeryconfig.py")

    def put(self, part: str, how: str, version: str = "1", more: str = "") -> None:
        files = {f"ns/{part}/__init__.py": "", f"ns/{part}/late.py": f"VERSION = {version}\n"}
        if self._init == NSPKG:
            files[f"ns_{part}-nspkg.pth"] = NSPKG
        elif self._init is not None:
            files["ns/__init__.py"] = self._init
        if more:
            files[more] = ""
        if how == "wheel":
            info = install(self.site.with_name("unpacked"), f"ns-{part}", version, files)
            for path in [p for p in info.parent.rglob("*") if p.is_file()]:  # beside what is there: they share ns
                target = self.site / path.relative_to(info.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            shutil.rmtree(info.parent)
            return
        source = self.home / part
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        make_old(source)
        finder = f"__editable___ns_{part}_finder"
        mapping = {f"ns.{part}": f"{source}/ns/{part}"}
        by_mapping = {f"{finder}.py": FINDER.format(mapping=mapping), f"ns_{part}.pth": f"import {finder}\n"}
        by_finder = how == "editable by finder"
        path_file = {f"ns_{part}.pth": f"{source}\n"}
        install_editable(self.site, source, f"ns-{part}", version, files=by_mapping if by_finder else path_file)
        if by_finder:
            self.mapping |= mapping
        else:
            self.paths.append(source)

    def snapshot(self) -> Path:
        answer = Answer(
            paths=tuple(map(str, self.paths)),
            identity="python",
            editable=self.mapping,
            celeryconfig=hashlib.sha256(b"").hexdigest(),
        )
        surveyor = Surveyor(self.home / "python", self.home / "celeryconfig.py", ["ns-mine"])
        survey = surveyor.look(answer, lambda places: (), wall=time.time(), fresh=True)
        assert survey.finding.reason == ""
        store = SnapshotStore(self.home / "generations")
        generation = Generation(1, survey.disk.fingerprint, survey.disk.versions, {}, "a test", "tests", 0.0)
        asyncio.run(store.make(generation, survey.disk, [], application(python=sys.executable)))
        return self.home / "generations/1"

    def ask(self, snapshot: Path) -> Any:
        about = json.loads((snapshot / "manifest.json").read_text())
        code = [str(snapshot / name) for name in about["import_path"] if name != "runtime"]
        packages = [name for names in about["watched"].values() for name in names]
        program = ASK.format(trapd=str(Path(__file__).parents[2]), code=code, packages=packages)
        start = f"import site; site.addsitedir({str(self.site)!r})\n"
        command = [sys.executable, "-I", "-S", "-B", "-c", start + program]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


WHEELS, FINDERS = ("wheel", "wheel"), ("editable by finder", "editable by finder")
MIXED = [
    ("wheel", "editable by path"),
    ("wheel", "editable by finder"),
    ("editable by path", "wheel"),
    ("editable by finder", "wheel"),
]
NATIVE, *OTHERS = STYLES
PARTS = rows(
    usual=[*((style, *pair) for style in STYLES for pair in (WHEELS, FINDERS)), *((NATIVE, *pair) for pair in MIXED)],
    more=[(style, *pair) for style in OTHERS for pair in MIXED],
)


@pytest.mark.parametrize(("style", "mine", "other"), PARTS)
def test_a_part_of_another_distribution_is_read_where_it_is_and_is_no_stray(
    tmp_path: Path, style: str, mine: str, other: str
) -> None:
    installation = Installation(tmp_path, STYLES[style])
    installation.put("mine", mine)
    installation.put("other", other)
    snapshot = installation.snapshot()
    answer = installation.ask(snapshot)
    assert answer["strays"] == []
    assert answer["mine"].startswith(f"{snapshot}/")
    assert not answer["other"].startswith(f"{snapshot}/")


def test_a_namespace_that_a_start_up_file_has_made_is_no_hindrance(tmp_path: Path) -> None:
    installation = Installation(tmp_path, NSPKG)
    installation.put("mine", "wheel")
    installation.put("other", "wheel")
    snapshot = installation.snapshot()
    answer = installation.ask(snapshot)
    assert (answer["strays"], answer["mine"]) == ([], f"{snapshot}/code/ns/mine/late.py")
    assert answer["other"] == f"{installation.site}/ns/other/late.py"


@pytest.mark.parametrize("init", STYLES.values(), ids=STYLES.keys())
def test_a_part_that_the_watched_distribution_has_since_got_is_a_stray(tmp_path: Path, init: str | None) -> None:
    installation = Installation(tmp_path, init)
    installation.put("mine", "wheel")
    installation.put("other", "wheel")
    snapshot = installation.snapshot()
    for info in installation.site.glob("ns_mine-*"):
        info.rename(tmp_path / info.name)
    installation.put("mine", "wheel", "2", more="ns/more.py")
    assert installation.ask(snapshot)["strays"] == [f"ns.more={installation.site}/ns/more.py"]
