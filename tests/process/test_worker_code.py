"""Real workers and their code: what is loaded comes from the snapshot, and what cannot be loaded is told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.brokers import Broker
from tests.support.site_packages import install
from tests.support.snapshots import NAPS
from tests.support.worker_lab import ONE, WorkerLab, client_warnings, wait
from trapd.model import CodeReport, FailureKind
from trapd.spec import PoolSpec
from trapd.worker.launch import EX_CONFIG

pytestmark = client_warnings


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Broker:
    return make_broker("embedded", request)


def installed(folder: Path, version: str) -> Path:
    """The same package, as it is installed: in another folder of the import path."""
    for name, text in {"naps/__init__.py": "", "naps/jobs.py": NAPS, "naps/later.py": "", "naps/only.py": ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\nVERSION = '{version}'\n")
    return folder


def on_the_path_of(folder: Path, celery_pool: str = "prefork") -> PoolSpec:
    return PoolSpec("default", celery_pool=celery_pool, environment={"PYTHONPATH": str(folder)})


# --- what is loaded -------------------------------------------------------------------------------------------------


async def test_a_worker_reports_what_it_loaded_and_answers_when_it_is_asked(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files)

    async with lab:
        instance = await lab.start()
        assert instance.report is not None
        assert replace(instance.report, loaded=()) == CodeReport(7, "fingerprint-7", {"naps": "1.0"}, slots=1)
        [answer] = await lab.ask("trapd_code")
        [(node, code)] = answer.items()
        assert node.startswith("default-7-1@")
        assert (code["pid"], code["generation"], code["strays"]) == (instance.pid, 7, [])


async def test_a_module_imported_after_an_upgrade_still_comes_from_the_snapshot(
    short_path: Path, files: Broker
) -> None:
    site = installed(short_path / "site", "1.0")
    lab = WorkerLab(short_path, files, spec=on_the_path_of(site))

    async with lab:
        await lab.start()
        installed(site, "2.0")
        assert await lab.call("late") == f"{lab.generations}/7/code/naps/later.py"


EDITABLE = """
import importlib.machinery
import sys

MAPPING = {"naps": "%s/naps"}


class EditableFinder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        parent = name.rpartition(".")[0]
        if parent in MAPPING:
            return importlib.machinery.PathFinder.find_spec(name, path=[MAPPING[parent]])


sys.meta_path.append(EditableFinder)
"""


async def test_a_module_that_the_snapshot_lacks_is_not_taken_from_an_editable_install(
    short_path: Path, files: Broker
) -> None:
    site, elsewhere = short_path / "site", installed(short_path / "src", "2.0")
    site.mkdir()
    (site / "sitecustomize.py").write_text(EDITABLE % elsewhere)
    extra = "\n\n@app.task\ndef only():\n    import naps.only\n"
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": NAPS + extra}, spec=on_the_path_of(site))

    async with lab:
        await lab.start()
        with pytest.raises(ModuleNotFoundError, match=r"naps\.only"):
            await lab.call("only")


async def test_what_a_task_starts_sees_what_is_installed_and_not_the_snapshot(short_path: Path, files: Broker) -> None:
    """A tool that the task runs, in whatever version: half of it from the snapshot would be neither."""
    ask = "import sys, naps.later; print(naps.later.__file__, *sys.path)"
    extra = f"""

@app.task
def outside():
    import subprocess, sys
    from naps import later
    return later.__file__, subprocess.check_output([sys.executable, "-P", "-c", {ask!r}], text=True)
"""
    site = installed(short_path / "site", "1.0")
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": NAPS + extra}, spec=on_the_path_of(site))

    async with lab:
        await lab.start()
        inside, outside = await lab.call("outside")
        assert inside == f"{lab.generations}/7/code/naps/later.py"
        assert outside.startswith(f"{site}/naps/later.py {site} ")  # its own PYTHONPATH is obeyed
        assert str(lab.generations) not in outside


async def test_an_embedded_worker_starts_in_a_folder_of_the_workers(short_path: Path, files: Broker) -> None:
    """As under systemd: a relative path can be written, and is nobody else's."""
    extra = "\n@app.task\ndef here():\n    open('note', 'w').close()\n    return os.getcwd()\n"
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": NAPS + extra})

    async with lab:
        await lab.start()
        assert await lab.call("here") == str(short_path / "workers")
        assert (short_path / "workers/note").exists()


async def test_what_a_start_up_file_has_imported_before_the_worker_is_imported_again_from_the_snapshot(
    short_path: Path, files: Broker
) -> None:
    site = installed(short_path / "site", "2.0")
    (site / "sitecustomize.py").write_text("import naps.later\n")
    lab = WorkerLab(short_path, files, spec=on_the_path_of(site))

    async with lab:
        report = (await lab.start()).report
        assert report is not None
        assert not report.mixed
        assert await lab.call("late") == f"{lab.generations}/7/code/naps/later.py"
        assert "a start-up file has imported naps.later; it is imported again from the snapshot" in lab.told()


def test_a_package_in_the_working_directory_is_not_taken_instead(short_path: Path, files: Broker) -> None:
    """Celery puts the working directory first while it imports task modules, and its fix-up for Django for ever.

    systemd's units can have any.
    """
    here = short_path / "here"
    here.mkdir()
    (here / "more_naps.py").touch()
    watched = {"naps": ["naps", "more_naps"]}
    config = "imports = ['more_naps']\n"
    jobs = f"import os, sys\nsys.path.insert(0, os.getcwd())\n{NAPS}"
    code = {"more_naps.py": "", "naps/jobs.py": jobs}
    lab = WorkerLab(short_path, files, files=code, celeryconfig=config, watched=watched)
    report = lab.runtime / "instances" / f"{ONE.name}.json"
    report.parent.mkdir(parents=True)
    argv, env = lab._command(ONE)
    with subprocess.Popen(argv, env=env, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
        wait(report.exists)
        worker.terminate()
    assert json.loads(report.read_text())["strays"] == []


async def test_a_stray_is_found_at_the_start(short_path: Path, files: Broker) -> None:
    jobs = f"import naps\nnaps.__path__.append({str(short_path / 'site/naps')!r})\nimport naps.only\n" + NAPS
    installed(short_path / "site", "2.0")
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": jobs})

    async with lab:
        report = (await lab.start()).report
        assert report is not None
        assert report.strays == (f"naps.only={short_path}/site/naps/only.py",)


async def test_a_stray_is_found_when_it_comes_later(short_path: Path, files: Broker) -> None:
    installed(short_path / "site", "2.0")
    extra = (
        "\n\n@app.task\ndef stray(folder):\n    import naps\n    naps.__path__.append(folder)\n    import naps.only\n"
    )
    spec = PoolSpec("default", celery_pool="threads")  # tasks run in the main process
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": NAPS + extra}, spec=spec)

    async with lab:
        report = (await lab.start()).report
        assert report is not None
        assert not report.mixed
        await lab.call("stray", str(short_path / "site/naps"))
        await lab.until(lambda seen: (report := seen[ONE].report) is not None and report.mixed)


async def test_what_a_child_loads_in_a_task_is_reported_and_that_it_holds_two_states_of_it(
    short_path: Path, files: Broker
) -> None:
    site = short_path / "site/site-packages"
    install(site, "late", "1.0", {"late/__init__.py": "", "late/more.py": "RATE = 1\n"})
    extra = "\n\n@app.task\ndef fetch(name):\n    import importlib\n    importlib.import_module(name)\n"
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": NAPS + extra}, spec=on_the_path_of(site))

    async with lab:
        report = (await lab.start()).report
        assert report is not None
        assert "celery" in report.loaded
        assert "late" not in report.loaded
        await lab.call("fetch", "late")
        await lab.until(lambda seen: (report := seen[ONE].report) is not None and "late" in report.loaded)
        install(site, "late", "1.0", {"late/__init__.py": "", "late/more.py": "RATE = 2\n"})
        await lab.call("fetch", "late.more")
        await lab.until(lambda seen: (report := seen[ONE].report) is not None and report.mixed)
        [answer] = await lab.ask("trapd_code")
        [code] = answer.values()
        assert code["replaced"] == [f"late.more={site}/late/more.py"]
        assert any("/libc" in library for library in code["live"]["libraries"])


# --- what cannot be loaded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "summary"),
    [
        ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("def f(:\n", "SyntaxError: invalid syntax (jobs.py, line 1)"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
        ("import os\nos._exit(3)\n", "os._exit(3) was called in naps.jobs, line 2"),
        ("import os\nos.fork() and os._exit(0)\n", "os._exit(0) was called in naps.jobs, line 2"),
        ("app = 3\n", "cannot use naps.jobs:app: it is a int, not a Celery application"),
        ("", "cannot find the application naps.jobs:app: naps.jobs has no 'app'"),
    ],
)
async def test_code_that_cannot_be_imported_is_the_codes_failure(
    short_path: Path, files: Broker, jobs: str, summary: str
) -> None:
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": jobs})

    async with lab:
        failure = await lab.fail()
        assert (failure.kind, failure.summary) == (FailureKind.CODE, summary)
        assert failure.detail.rstrip().endswith(summary.partition(" (")[0])
        assert "cannot load the code" in lab.told()


@pytest.mark.parametrize(
    ("config", "summary"),
    [
        ("imports = ['naps.nosuchmodule']\n", "ModuleNotFoundError: No module named 'naps.nosuchmodule'"),
        ("CELERY_IMPORTS = ['naps.later']\n", "cannot mix old and new names of settings in celeryconfig.py: rename"),
        ("result_backend = 'nonsense://'\n", "ModuleNotFoundError: No module named 'nonsense'"),
        ("broker_url = 'nonsense://'\n", "KeyError: 'No such transport: nonsense'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
async def test_settings_that_cannot_be_used_are_the_codes_failure_too(
    short_path: Path, files: Broker, config: str, summary: str
) -> None:
    lab = WorkerLab(short_path, files, celeryconfig=config)

    async with lab:
        failure = await lab.fail()
        assert failure.kind is FailureKind.CODE
        assert failure.summary.startswith(summary)


@pytest.mark.parametrize("config", ["password = 'S3cret' + 1\n", "password = 'S3cret'x\n"])
async def test_a_worker_tells_where_its_settings_fail_and_no_line_of_them(
    short_path: Path, files: Broker, config: str
) -> None:
    lab = WorkerLab(short_path, files, celeryconfig=config)

    async with lab:
        failure = await lab.fail()
        for said in (failure.summary + failure.detail, lab.told()):
            assert "celeryconfig.py" in said
            assert "S3cret" not in said


async def test_an_environment_without_celery_is_told(short_path: Path, files: Broker) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'celery'\")\n"
    lab = WorkerLab(short_path, files, files={"celery/__init__.py": missing})

    async with lab:
        failure = await lab.fail()
        assert (failure.kind, failure.summary) == (FailureKind.CODE, "ModuleNotFoundError: No module named 'celery'")


async def test_task_modules_may_wait_for_the_application_to_be_complete(short_path: Path, files: Broker) -> None:
    hooked = """
from naps.jobs import app


@app.on_after_finalize.connect
def complete(sender, **_):
    print("complete:", "naps.hooked.own" in sender.tasks)


@app.task
def own():
    pass
"""
    lab = WorkerLab(short_path, files, files={"naps/hooked.py": hooked}, celeryconfig="imports = ['naps.hooked']\n")

    async with lab:
        await lab.start()
        assert "complete: True" in lab.told()


@pytest.mark.parametrize("good", [True, False])
async def test_the_smoke_test_decides_before_ready(short_path: Path, files: Broker, good: bool) -> None:
    smoke = f"def test():\n    print('smoke')\n    assert {good}, 'the numbers are wrong'\n"
    lab = WorkerLab(short_path, files, files={"naps/smoke.py": smoke}, smoke_test="naps.smoke:test")

    async with lab:
        if good:
            await lab.start()
            assert "smoke" in lab.told()
        else:
            failure = await lab.fail()
            assert (failure.kind, failure.summary) == (FailureKind.CODE, "AssertionError: the numbers are wrong")


async def test_an_import_that_hangs_is_ended_and_located(short_path: Path, files: Broker) -> None:
    jobs = "import time\n\n\ndef connect():\n    time.sleep(3600)\n\n\nconnect()\n"
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": jobs}, start_timeout=5.0)

    async with lab:
        failure = await lab.fail()
        assert failure.kind is FailureKind.TIMEOUT
        assert 'naps/jobs.py", line 5 in connect' in failure.detail


async def test_a_worker_that_imports_can_be_drained_at_once(short_path: Path, files: Broker) -> None:
    lab = WorkerLab(short_path, files, files={"naps/jobs.py": "import time\ntime.sleep(3600)\n"})

    async with lab:
        await lab.backend.start(ONE)
        await lab.until(lambda seen: seen[ONE].status == "importing")
        await lab.drain()


def test_what_does_not_exist_is_refused_with_78() -> None:
    command = [sys.executable, "-m", "trapd.worker", "default", "7-1", "--generation", "/nowhere/7", "--runtime", "/r"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == EX_CONFIG
    words = "there is no generation 7 in /nowhere; trapctl retry makes one of what is installed"
    assert done.stderr.endswith(f"] trapd-worker: cannot start: {words}\n")
