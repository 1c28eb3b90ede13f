"""Code in a project's folder finds its surroundings from ``__file__`` in a snapshot as it does where it was written."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker
from tests.support.builders import application
from tests.support.site_packages import install_editable, make_old
from tests.support.worker_lab import ONE, WorkerLab, client_warnings
from trapd.generations.snapshot import SnapshotStore
from trapd.model import Generation
from trapd.spec import PoolSpec
from trapd.watch.interpreter import Answer
from trapd.watch.survey import Surveyor

pytestmark = client_warnings

# As `django-admin startproject` writes it, before Django 3.1 and since.
RESOLVED = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent{up}\n"
JOINED = "import os\nfrom pathlib import Path\nBASE_DIR = Path(os.path.abspath(__file__)).parent{up}\n"
LOOK = """
import json, sqlite3, sys
from {module} import BASE_DIR
(BASE_DIR / "media" / "written.txt").write_text("the only copy")
database = sqlite3.connect(BASE_DIR / "db.sqlite3")
database.execute("pragma journal_mode = wal")
database.execute("insert into jobs values (1)")
database.commit()
print(json.dumps({{
    "secret": (BASE_DIR / ".env").read_text(),
    "beside": (BASE_DIR.parent / "data" / "sky.csv").read_text(),
    "name": BASE_DIR.name,
    "sibling": __import__("shop.models").models.NAME,
    "template": (__import__("pathlib").Path(sys.modules["shop"].__file__).parent / "templates/a.html").read_text(),
}}))
database.close()
"""
SHOP = {"shop/__init__.py": "", "shop/models.py": "NAME = 'shop'\n", "shop/templates/a.html": "<p>"}


@dataclass(frozen=True)
class Layout:
    """``root``: what of ``home/work`` is on the import path; ``module`` has BASE_DIR, that many folders ``up``."""

    module: str
    up: str = ""
    root: str = "site"
    base: str = "site"
    code: Mapping[str, str] = field(default_factory=lambda: SHOP)
    editable: bool = False


LAYOUTS = {
    "startproject": Layout("proj", ".parent"),
    "settings two levels down": Layout("proj.settings.base", ".parent.parent"),
    "a module alone": Layout("jobs"),
    "src-layout, editable": Layout("proj", ".parent.parent", "site/src", editable=True),
    "flat layout, editable": Layout("proj", ".parent", editable=True),
    "a project in a workspace": Layout(
        "proj", ".parent.parent", "ws/packages/site/src", "ws/packages/site", editable=True
    ),
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def build(home: Path, layout: Layout, text: str) -> None:
    """The project below ``home``, with all that lies in and beside it."""
    root, base = home / layout.root, home / layout.base
    parts = layout.module.split(".")
    packages = {f"{'/'.join(parts[:count])}/__init__.py": "" for count in range(1, len(parts))}
    file = f"{'/'.join(parts)}.py" if len(parts) > 1 or layout.module == "jobs" else f"{parts[0]}/__init__.py"
    write(root, {**packages, file: text.format(up=layout.up), **layout.code})
    write(base, {".env": "SECRET=the-real-one\n", "media/old.txt": "", "venv/pyvenv.cfg": ""})
    write(base.parent, {"data/sky.csv": "1,2\n"})
    with sqlite3.connect(base / "db.sqlite3") as database:
        database.execute("create table jobs (n)")
    database.close()
    make_old(root)


def snapshot(home: Path, layout: Layout) -> Path:
    """Generation 1 of it."""
    name, root = layout.module.partition(".")[0], home / layout.root
    site = home / "site-packages"
    site.mkdir()
    if layout.editable:
        install_editable(site, home / layout.base, name, "1", top_level=[name, "shop"])
    (home / "celeryconfig.py").touch()
    make_old(home / "celeryconfig.py")
    empty = hashlib.sha256(b"").hexdigest()
    answer = Answer(paths=(str(root), str(site)), identity="python", celeryconfig=empty)
    surveyor = Surveyor(home / "python", home / "celeryconfig.py", [name])
    disk = surveyor.look(answer, lambda places: (), wall=time.time(), fresh=True).disk
    store = SnapshotStore(home / "generations")
    generation = Generation(1, disk.fingerprint, disk.versions, {}, "a test", "tests", 0.0)
    asyncio.run(store.make(generation, disk, [], application(python=sys.executable)))
    return home / "generations/1"


def run(path: list[Path], module: str) -> Any:
    command = [sys.executable, "-P", "-B", "-c", LOOK.format(module=module)]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def folders(generation: Path) -> list[Path]:
    return [generation / name for name in json.loads((generation / "manifest.json").read_text())["import_path"]]


@pytest.mark.parametrize("text", [RESOLVED, JOINED], ids=["resolved", "joined"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_project_reads_and_writes_beside_itself_as_it_does_without_trapd(
    tmp_path: Path, layout: Layout, text: str
) -> None:
    home = tmp_path / "home"
    build(home, layout, text)
    (home / "generations").mkdir()
    base = home / layout.base
    plain = run([home / layout.root], layout.module)
    (base / "media/written.txt").unlink()
    generation = snapshot(home, layout)
    before = sorted(path for path in generation.rglob("*"))
    assert run(folders(generation), layout.module) == plain
    assert (base / "media/written.txt").read_text() == "the only copy"
    with sqlite3.connect(base / "db.sqlite3") as database:
        assert database.execute("select count(*) from jobs").fetchone() == (2,)
    database.close()
    assert sorted(path for path in generation.rglob("*")) == before, "a journal of sqlite, say"
    assert [path for path in generation.rglob("*") if path.name in (".env", "old.txt") and not path.is_symlink()] == []


def test_what_a_project_imports_late_is_of_the_snapshot_though_its_neighbour_was_not_named(tmp_path: Path) -> None:
    layout = LAYOUTS["startproject"]
    build(tmp_path, layout, RESOLVED)
    (tmp_path / "generations").mkdir()
    generation = snapshot(tmp_path, layout)
    write(tmp_path / "site", {"shop/models.py": "NAME = 'another version'\n"})
    assert run([*folders(generation), tmp_path / "site"], "proj")["sibling"] == "shop"


# --- and nobody writes into a generation ----------------------------------------------------------------------------

WRITES = """
from pathlib import Path

from naps.jobs import app


@app.task(name="naps.jobs.write")
def write(path):
    Path(path).write_text("the only copy")
"""


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    return make_broker("embedded", request)


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not write there anyway")
@pytest.mark.parametrize("celery_pool", ["prefork", "solo"])
async def test_a_worker_that_runs_as_root_cannot_write_into_its_generation(
    short_path: Path, files: Broker, celery_pool: str
) -> None:
    lab = WorkerLab(
        short_path,
        files,
        files={"naps/writes.py": WRITES},
        celeryconfig='imports = ("naps.writes",)\n',
        spec=PoolSpec("default", celery_pool=celery_pool),
    )

    async with lab:
        await lab.start()
        inside = lab.generations / "7/code/written.txt"
        with pytest.raises(OSError, match="Read-only file system"):
            await lab.call("write", str(inside))
        await lab.call("write", str(short_path / "outside.txt"))
        assert not inside.exists()
        inside.touch()  # for others the folder is what it was
        inside.unlink()
        await lab.drain(ONE)
