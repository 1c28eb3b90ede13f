"""Editable installs in all their forms: the files are found, counted, listened to and copied under the right names."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.builders import application
from tests.support.site_packages import install_editable, make_old
from trapd.generations import manifest
from trapd.generations.mirror import home
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Generation
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places
from trapd.watch.quiet import Verdict
from trapd.watch.survey import Surveyor


@dataclass
class Form:
    """What a build backend leaves. Of all paths, "~" is the home; ``code`` is what is imported from which file."""

    tree: Mapping[str, str]  # file, or link with "->", and its content
    code: Mapping[str, str]  # in the snapshot -> where it is edited
    url: str = "~/tree"
    paths: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)  # of setuptools' finder
    top_level: tuple[str, ...] = ()
    watched: tuple[str, ...] = ("trap",)
    installed: Mapping[str, str] = field(default_factory=dict)  # in site-packages, by a wheel's RECORD
    together: bool = False  # its parts lie in several places, and the copy is one package


FORMS = {
    "a namespace by finder": Form(
        {"tree/ns/trap/__init__.py": ""},
        {"ns/trap/__init__.py": "tree/ns/trap/__init__.py"},
        mapping={"ns.trap": "~/tree/ns/trap"},
        top_level=("ns",),
        watched=("ns.trap",),
    ),
    "a namespace by path": Form(
        {"tree/src/ns/trap/__init__.py": "", "tree/src/ns/more.py": ""},
        {"ns/trap/__init__.py": "tree/src/ns/trap/__init__.py", "ns/more.py": "tree/src/ns/more.py"},
        paths=("~/tree/src",),
        top_level=("ns",),
        watched=("ns.more", "ns.trap"),
    ),
    "the project's folder is the package": Form(
        {"tree/__init__.py": ""},
        {"trap/__init__.py": "tree/__init__.py"},
        mapping={"trap": "~/tree"},
        top_level=("trap",),
    ),
    "single modules by finder": Form(
        {"tree/one.py": "", "tree/two.py": "", "tree/notes.txt": ""},
        {"one.py": "tree/one.py", "two.py": "tree/two.py"},
        mapping={"one": "~/tree/one", "two": "~/tree/two"},
        top_level=("one", "two"),
        watched=("one", "two"),
    ),
    "a single module by path": Form(
        {"tree/src/one.py": ""},
        {"one.py": "tree/src/one.py"},
        paths=("~/tree/src",),
        top_level=("one",),
        watched=("one",),
    ),
    "installed by way of a link, by finder": Form(
        {"link": "->tree", "tree/code/trap/__init__.py": ""},
        {"trap/__init__.py": "tree/code/trap/__init__.py"},
        url="~/link",
        mapping={"trap": "~/tree/code/trap"},
        top_level=("trap",),
    ),
    "installed by way of a link, by path": Form(
        {"link": "->tree", "tree/src/trap/__init__.py": ""},
        {"trap/__init__.py": "tree/src/trap/__init__.py"},
        url="~/link",
        paths=("~/link/src",),
    ),
    "a package that is a link out of the tree": Form(
        {"elsewhere/trap/__init__.py": "", "tree/trap": "->../elsewhere/trap"},
        {"trap/__init__.py": "elsewhere/trap/__init__.py"},
        mapping={"trap": "~/tree/trap"},
    ),
    "setuptools' strict mode: a folder of links": Form(
        {
            "tree/src/trap/__init__.py": "",
            "tree/src/trap/sub/a.py": "",
            "tree/build/__editable__.trap-1/trap/__init__.py": "->../../../src/trap/__init__.py",
            "tree/build/__editable__.trap-1/trap/sub/a.py": "->../../../../src/trap/sub/a.py",
        },
        {"trap/__init__.py": "tree/src/trap/__init__.py", "trap/sub/a.py": "tree/src/trap/sub/a.py"},
        paths=("~/tree/build/__editable__.trap-1",),
        top_level=("trap",),
    ),
    "a folder in the package is a link": Form(
        {"data/sky/a.csv": "", "tree/trap/__init__.py": "", "tree/trap/data": "->../../data"},
        {"trap/__init__.py": "tree/trap/__init__.py", "trap/data/sky/a.csv": "data/sky/a.csv"},
        paths=("~/tree",),
    ),
    "meson's install plan, with what was built": Form(
        {"tree/src/trap/__init__.py": "", "tree/src/trap/notes.py": "", "tree/build/core.so": "", "tree/sky/a.py": ""},
        {
            "trap/__init__.py": "tree/src/trap/__init__.py",
            "trap/core.so": "tree/build/core.so",
            "trap/sky/a.py": "tree/sky/a.py",
        },
        mapping={
            "/trap/__init__.py": "~/tree/src/trap/__init__.py",
            "/trap/core.so": "~/tree/build/core.so",
            "/trap/absent.so": "~/tree/build/absent.so",
            "/trap/sky": "~/tree/sky",
        },
        together=True,
    ),
    "scikit-build-core's extension in site-packages": Form(
        {"tree/src/trap/__init__.py": "", "tree/src/trap/sub/a.py": ""},
        {
            "trap/__init__.py": "tree/src/trap/__init__.py",
            "trap/sub/a.py": "tree/src/trap/sub/a.py",
            "trap/core.so": "site-packages/trap/core.so",
        },
        paths=("~/tree/src",),
        installed={"trap/core.so": "", "__editable__.trap.pth": "import os\n"},
        together=True,
    ),
    "flit's link in site-packages": Form(
        {"tree/trap/__init__.py": "", "site-packages/trap": "->../tree/trap"},
        {"trap/__init__.py": "tree/trap/__init__.py"},
    ),
}


def build(home: Path, form: Form) -> None:
    for name, content in form.tree.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
            make_old(path)
    url = Path(form.url.replace("~", str(home)))
    install_editable(home / "site-packages", url, "trap", "1", top_level=form.top_level, files=form.installed)
    (home / "celeryconfig.py").touch()
    make_old(home / "celeryconfig.py")


def imported(path: str, tops: Sequence[str]) -> str:
    """What a file of a snapshot is below the folder on the import path that it is in."""
    return next(path.removeprefix(f"{top}/") for top in tops if path.startswith(f"{top}/"))


def heard(places: Places, file: Path) -> bool:
    """Whether a change of this very file, by no link, is listened to."""
    names = places.folders.get(file.parent, frozenset())
    return names is None or file.name in names or any(top in file.parents for top in places.trees)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_an_editable_install_is_found_listened_to_counted_and_copied(tmp_path: Path, form: Form) -> None:
    build(tmp_path, form)
    armed: list[Places] = []
    answer = Answer(
        paths=(str(tmp_path / "site-packages"), *(path.replace("~", str(tmp_path)) for path in form.paths)),
        identity="python",
        editable={name: where.replace("~", str(tmp_path)) for name, where in form.mapping.items()},
        celeryconfig=hashlib.sha256(b"").hexdigest(),
    )
    surveyor = Surveyor(tmp_path / "python", tmp_path / "celeryconfig.py", ["trap"])

    def arm(places: Places) -> frozenset[Path]:
        armed.append(places)
        return frozenset()

    found = surveyor.look(answer, arm, wall=time.time(), fresh=False)
    assert (found.finding.verdict, found.finding.reason) == (Verdict.WHOLE, "")
    files = {f.path: Path(f.source).resolve() for f in found.disk.files if f.path.startswith(("code/", "tree/"))}
    tops = [*map(home, found.disk.roots), "code"]
    code = {imported(path, tops): source for path, source in files.items() if "-info/" not in path}
    assert code == {name: tmp_path / where for name, where in form.code.items()}
    in_place = [name for name, where in form.code.items() if where.endswith(f"/{name}")]
    places = [f"code/{name}" if form.together else f"tree{tmp_path}/{form.code[name]}" for name in in_place]
    assert set(places) <= files.keys()
    assert [where for where in form.code.values() if not heard(armed[-1], tmp_path / where)] == []

    store = SnapshotStore(tmp_path / "generations")
    generation = Generation(1, found.disk.fingerprint, found.disk.versions, {}, "a test", "tests", 0.0)
    asyncio.run(store.make(generation, found.disk, [], application(python=sys.executable)))
    assert manifest.read(tmp_path / "generations/1").watched == {"trap": list(form.watched)}

    for where in form.code.values():
        before, found = found, surveyor.look(answer, arm, wall=time.time(), fresh=False)
        assert found.finding.fingerprint == before.finding.fingerprint
        (tmp_path / where).write_text("changed = True\n")
        found = surveyor.look(answer, arm, wall=time.time(), fresh=False)
        assert found.finding.fingerprint != before.finding.fingerprint
