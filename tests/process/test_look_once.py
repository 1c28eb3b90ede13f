"""`trapctl check` judges as the watch does: what it calls sound can be run, what cannot be run has its true reason."""

from __future__ import annotations

import asyncio
import json
import os
import py_compile
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import application
from tests.support.site_packages import install, make_old
from tests.support.wheels import write_wheel
from tests.unit.ctl.test_findings import SETTINGS
from trapd.ctl import check
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Generation
from trapd.watch import once
from trapd.watch.interpreter import Interpreter
from trapd.watch.survey import Surveyor

FILES = {"naps/__init__.py": "VERSION = 1\n", "naps/late.py": "VERSION = 2\n"}
Form = Callable[[Path], Path]


def plain(home: Path) -> Path:
    for name, text in FILES.items():
        (home / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "site" / name).write_text(text)
    make_old(home / "site")
    return home / "site"


def wheel(home: Path) -> Path:
    install(home / "site-packages", "naps", "1", FILES)
    return home / "site-packages"


def compiled_wheel(home: Path) -> Path:
    """A wheel with nothing but .pyc, as some sell their programs."""
    site = home / "site-packages"
    info = install(site, "naps", "1", FILES)
    for name in FILES:
        py_compile.compile(str(site / name), cfile=str(site / f"{name}c"), doraise=True)
        (site / name).unlink()
    lines = [line for line in (info / "RECORD").read_text().splitlines() if not line.startswith("naps/")]
    (info / "RECORD").write_text("\n".join([*lines, *(f"{name}c,," for name in FILES)]) + "\n")
    make_old(site)
    return site


def zip_file(home: Path) -> Path:
    with zipfile.ZipFile(home / "app.zip", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return home / "app.zip"


def zipped_egg(home: Path) -> Path:
    wheel = write_wheel(home, "naps", "1", FILES)
    return wheel.rename(home / "naps-1-py3.11.egg")


def nothing(home: Path) -> Path:
    (home / "site").mkdir()
    return home / "site"


def look(home: Path, form: Form) -> dict[str, Any]:
    (home / "celeryconfig.py").write_text("broker_url = 'memory://'\n")
    make_old(home / "celeryconfig.py")
    path = str(form(home))
    environment = {"PYTHONPATH": path}
    return once.look(sys.executable, str(home / "celeryconfig.py"), ["naps"], environment, "distributions")


@pytest.mark.parametrize(("form", "kind"), [(plain, "plain"), (wheel, "recorded"), (compiled_wheel, "recorded")])
def test_what_is_called_whole_runs_from_a_snapshot(tmp_path: Path, form: Form, kind: str) -> None:
    found = look(tmp_path, form)
    assert (found["state"], found["reason"], found["distributions"]["naps"]["kind"]) == ("whole", "", kind)

    environment = {"PYTHONPATH": str(next(tmp_path.glob("site*")))}
    interpreter = Interpreter(Path(sys.executable), tmp_path / "celeryconfig.py", environment=environment)
    config = tmp_path / "celeryconfig.py"
    surveyor = Surveyor(Path(sys.executable), config, ["naps"], snapshot="distributions")
    disk = surveyor.look(asyncio.run(interpreter.ask()), lambda places: (), wall=time.time(), fresh=True).disk
    (tmp_path / "generations").mkdir()
    store = SnapshotStore(tmp_path / "generations")
    generation = Generation(1, disk.fingerprint, disk.versions, {}, "a test", "tests", 0.0)
    asyncio.run(store.make(generation, disk, [], application(python=sys.executable)))
    snapshot = tmp_path / "generations/1"
    about = json.loads((snapshot / "manifest.json").read_text())
    assert about["watched"] == {"naps": ["naps"]}
    path = os.pathsep.join(str(snapshot / name) for name in about["import_path"])
    program = "import naps.late; print(naps.VERSION, naps.late.VERSION, naps.late.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.startswith(f"1 2 {snapshot}/")


@pytest.mark.parametrize("form", [zip_file, zipped_egg])
def test_code_in_an_archive_is_refused_as_that(tmp_path: Path, form: Form) -> None:
    found = look(tmp_path, form)
    [archive] = {*tmp_path.glob("*.zip"), *tmp_path.glob("*.egg")}
    assert found["state"] == "broken"
    assert found["reason"] == (
        f"naps lies in the archive {archive}, and only files in folders can be copied and watched; "
        "unpack it, or install it with pip"
    )


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    found = look(tmp_path, nothing)
    assert (found["state"], found["distributions"]) == ("broken", {})
    remedy = "install it there, or correct [watch] distributions"
    assert found["reason"] == f"naps cannot be found by {sys.executable}; {remedy}"


def test_a_pin_and_a_program_that_looks_around_are_seen(tmp_path: Path) -> None:
    def project(home: Path) -> Path:
        site = plain(home)
        (site / "naps/settings.py").write_text("from pathlib import Path\nB = Path(__file__).resolve().parent.parent\n")
        (site / "naps-1.dist-info").mkdir()
        requires = "Requires-Dist: celery==5.7.0\nRequires-Dist: kombu (==5.*)\nRequires-Dist: absent==1\n"
        (site / "naps-1.dist-info/METADATA").write_text(f"Name: naps\nVersion: 1\n{requires}\n")
        make_old(site)
        return site

    found = look(tmp_path, project)
    assert found["pins"] == [{"by": "naps", "name": "celery", "version": "5.7.0"}]
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    found |= once.look(sys.executable, str(tmp_path / "celeryconfig.py"), ["naps"], environment)
    assert (found["environment"], found["pins"]) == (True, []), "a copy of everything holds both"
    assert found["projects"] == {
        str(tmp_path / "site"): {
            "climbing": ["naps/settings.py"],
            "writable": True,
            "code": ["naps"],
            "left_out": [],
        }
    }


def test_a_folder_without_an_init_is_said_to_be_left_out(tmp_path: Path) -> None:
    def project(home: Path) -> Path:
        site = plain(home)
        names = [
            "apps/shop/__init__.py",
            "scripts/run.py",
            "tests/test_a.py",
            "media/a.jpg",
            "venv/pyvenv.cfg",
            "venv/a.py",
        ]
        for path in (site / name for name in names):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        return site

    [found] = look(tmp_path, project)["projects"].values()
    assert found["left_out"] == ["apps", "scripts"]


def test_a_celeryconfig_that_needs_the_pools_environment_file_is_sound(tmp_path: Path) -> None:
    """As the watch has it, and the workers."""
    file, config = tmp_path / "secrets.env", tmp_path / "celeryconfig.py"
    file.write_text("BROKER=memory://\n")
    config.write_text("import os\nbroker_url = os.environ['BROKER']\n")
    for path in (file, config):
        make_old(path)
    asked = replace(
        SETTINGS.application,
        celeryconfig=str(config),
        python=sys.executable,
        environment={"PYTHONPATH": str(plain(tmp_path))},
        environment_file=str(file),
    )
    watch = replace(SETTINGS.watch, distributions=("naps",))
    found = check.look(replace(SETTINGS, application=asked, watch=watch))
    assert (found["state"], found["reason"]) == ("whole", "")
