"""`trapctl check` and `trapctl celery`: an application in a virtual environment that has never heard of trapd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_trapctl_commands import ctl, exactly, trapd
from tests.support import environments
from tests.support.brokers import Broker, free_port
from tests.support.json_schema import faults
from tests.support.old_python import old_python
from tests.support.site_packages import install
from tests.support.snapshots import lay_out_runtime
from trapd import settings
from trapd.ctl.check import inspect

PACKAGE = Path(settings.__file__).parents[1]
NAMES = {"harbour/__init__.py": "", "anchor.py": ""}
TASKS = """
import sys
from celery import Celery
print("harbour says hello on standard output")
print("harbour {version}", file=sys.stderr)
app = Celery("harbour")
@app.task(name="harbour.moor", acks_late={late}, reject_on_worker_lost={late})
def moor(): ...
"""


@dataclass
class Harbour:
    """The application, its interpreter, and a folder with trapd.toml, celeryconfig.py and state."""

    python: Path
    site: Path
    folder: Path

    def install(self, version: str = "1.0", *, tasks: str = TASKS, late: bool = True) -> None:
        install(self.site, "harbour", version, NAMES | {"harbour/tasks.py": tasks.format(version=version, late=late)})

    def configure(
        self, celeryconfig: str, app: str = "harbour.tasks:app", tables: Mapping[str, Mapping[str, str]] = {}
    ) -> Path:
        (self.folder / "celeryconfig.py").write_text(celeryconfig)
        lines = [
            "[trapd]\nbackend = 'embedded'\nstate_directory = 'state'\nruntime_directory = 'run'",
            f"[app]\napp = '{app}'\nceleryconfig = 'celeryconfig.py'\npython = '{self.python}'",
            "[watch]\ndistributions = ['harbour']",
            *(f"[{name}]\n" + "\n".join(f"{k} = {v}" for k, v in table.items()) for name, table in tables.items()),
        ]
        file = self.folder / "trapd.toml"
        file.write_text("\n".join(lines))
        return file

    def ctl(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return ctl("--config", str(self.folder / "trapd.toml"), *arguments, **environ)

    def generation(self, number: int, version: str, celeryconfig: str) -> None:
        """A snapshot as trapd lays it out."""
        folder = self.folder / "state" / "generations" / str(number)
        code = folder / "code" / "harbour"
        code.mkdir(parents=True)
        (code / "__init__.py").touch()
        (code / "tasks.py").write_text(TASKS.format(version=version, late=True))
        lay_out_runtime(folder)
        (folder / "etc").mkdir()
        (folder / "etc" / "celeryconfig.py").write_text(celeryconfig)
        manifest = {
            "schema": 1,
            "number": number,
            "app": "harbour.tasks:app",
            "python": str(self.python),
            "import_path": ["code", "runtime"],
            "celeryconfig": "etc/celeryconfig.py",
            "watched": {"harbour": ["harbour"]},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def harbour(short_path: Path) -> Harbour:
    """Its interpreter sees this one's Celery by a .pth file, in which trapd's own (editable) .pth does not count."""
    venv = short_path / "venv"
    environments.bare(venv)
    site = next(venv.glob("lib/python3*/site-packages"))
    (site / "more.pth").write_text(sysconfig.get_path("purelib") + "\n")
    made = Harbour(venv / "bin" / "python", site, short_path)
    made.install()
    return made


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """level -> what was found."""
    said = json.loads(done.stdout)
    assert faults(said, "Check") == []
    levels: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for one in said["findings"]:
        levels[one["level"]].append(one["what"])
        assert one["level"] == "ok" or (one["reason"] and one["remedy"])
    assert (said["errors"], said["warnings"]) == (len(levels["error"]), len(levels["warning"]))
    return levels


def the_error(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    exactly(done, 1)
    (one,) = [one for one in json.loads(done.stdout)["findings"] if one["level"] == "error"]
    return dict(one)


def nowhere() -> str:
    return f"broker_url = 'amqp://user:s3cret@127.0.0.1:{free_port()}//'\nresult_backend = 'rpc://'\n"


# --- check ----------------------------------------------------------------------------------------------------------


def test_a_sound_application_passes_on_every_broker(harbour: Harbour, broker: Broker) -> None:
    has_trapd = subprocess.run([harbour.python, "-P", "-c", "import trapd"], capture_output=True)
    assert has_trapd.returncode != 0  # or this test shows nothing
    harbour.configure(broker.celeryconfig())
    done = harbour.ctl("check", "--json")
    exactly(done, 0)
    found = findings(done)
    assert "harbour 1.0 is installed for" in found["ok"][1]
    assert found["ok"][2].startswith("harbour.tasks:app imports in")
    assert "1 task," in found["ok"][2]
    assert found["ok"][3].startswith("the broker ")
    assert found["ok"][3].endswith(" answers")


def test_a_broker_that_is_not_there_is_an_error_and_its_password_is_not_shown(harbour: Harbour) -> None:
    harbour.configure(nowhere())
    done = harbour.ctl("check")
    exactly(done, 1)
    assert "error   cannot reach the broker amqp://user:" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 error, 3 warnings"
    assert "s3cret" not in harbour.ctl("check", "--json").stdout


def test_checking_leaves_no_file_behind(harbour: Harbour) -> None:
    harbour.configure("broker_url = 'memory://'\n")
    before = sorted(harbour.folder.rglob("*"))
    harbour.ctl("check")
    assert sorted(harbour.folder.rglob("*")) == before


def test_mixed_names_are_told_in_our_words(harbour: Harbour) -> None:
    harbour.configure("BROKER_URL = 'memory://'\ntask_acks_late = True\nresult_backend = 'rpc://'\n")
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == f"cannot use the settings in {harbour.folder}/celeryconfig.py"
    assert (
        "cannot mix old and new names of settings in celeryconfig.py: rename BROKER_URL to broker_url; no"
        in error["reason"]
    )
    assert error["detail"] == ""


def test_old_names_alone_are_fine_and_unknown_ones_are_named(harbour: Harbour, tmp_path: Path) -> None:
    folder = f"{{'data_folder_in': '{tmp_path}', 'data_folder_out': '{tmp_path}'}}"
    harbour.configure(
        f"BROKER_URL = 'filesystem://'\nBROKER_TRANSPORT_OPTIONS = {folder}\nCELERY_RESULT_BACKEND = 'rpc://'\n"
        "CELERYD_FORCE_EXECV = True\nCELERY_ACK_LATE = True\n"
    )
    done = harbour.ctl("check", "--json")
    exactly(done, 0)
    assert "Celery knows no setting CELERYD_FORCE_EXECV" in findings(done)["warning"]
    (late,) = [one for one in json.loads(done.stdout)["findings"] if one["what"].endswith("CELERY_ACK_LATE")]
    assert late["remedy"] == "did you mean CELERY_ACKS_LATE?"


OWN = """
app.config_from_object({{"broker_url": "amqp://user:s3cret@dev", "task_default_queue": "jobs", "task_ack_late": True}})
"""


def test_settings_are_listed_with_where_they_come_from(harbour: Harbour) -> None:
    harbour.install("2.0", tasks=TASKS + OWN)
    harbour.configure(
        "broker_url = 'memory://'\ntask_default_queue = 'wide'\n", "harbour.tasks", {"pools.a": {"concurrency": "4"}}
    )
    said = harbour.ctl("check").stdout
    lines = [line.strip() for line in said.splitlines()]
    assert "ok      settings that are not Celery's defaults: 2 by celeryconfig.py" in said
    assert any(line.endswith("(celeryconfig, not the application's 'amqp://user:***@dev')") for line in lines)
    assert "worker_concurrency = 4  (trapd.toml, pool a)" in lines
    assert "warning task_default_queue is 'wide' by celeryconfig.py; the application sets 'jobs'" in lines
    assert "warning Celery knows no setting task_ack_late" in lines
    assert "did you mean task_acks_late?" in lines
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("{{'CELERY_ACKS_LATE': True, 'broker_url': 'memory://', 'imports': ()}}", "in the application's own settings"),
        ("'no.such.module'", "No module named 'no'"),
    ],
    ids=["mixed names", "no such module"],
)
def test_what_is_wrong_in_the_applications_own_settings_is_not_blamed_on_celeryconfig(
    harbour: Harbour, own: str, words: str
) -> None:
    harbour.install("2.0", tasks=f"{TASKS}\napp.config_from_object({own})\n")
    harbour.configure(nowhere())
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == "cannot use the settings of harbour.tasks:app itself"
    assert words in error["reason"]


def test_an_option_that_a_worker_would_have_to_be_given_is_an_error(harbour: Harbour) -> None:
    option = "\nimport click\napp.user_options['worker'].add(click.Option(['--site'], required=True, envvar='SITE'))\n"
    harbour.install("2.0", tasks=TASKS + option)
    harbour.configure("broker_url = 'memory://'\n")
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == "cannot start a worker of harbour.tasks:app without a command line"
    assert "Missing option '--site'" in error["reason"]
    harbour.configure("broker_url = 'memory://'\n", tables={"pools.a": {"environment": "{SITE = 'drydock'}"}})
    assert "Missing option" not in harbour.ctl("check").stdout


def test_an_eager_application_is_flagged_loudly(harbour: Harbour) -> None:
    harbour.configure("CELERY_ALWAYS_EAGER = True\n")
    done = harbour.ctl("check")
    exactly(done, 0)
    assert "warning task_always_eager is on: THE WORKERS GET NO TASKS" in done.stdout


def test_a_task_module_that_raises_is_an_error_with_its_traceback(harbour: Harbour) -> None:
    harbour.install("2.0", tasks=TASKS + "\nraise RuntimeError('the hull leaks: amqp://u:s3cret@h')\n")
    harbour.configure(nowhere())
    done = harbour.ctl("check", "--json")
    error = the_error(done)
    assert error["what"] == f"cannot import harbour.tasks:app on {harbour.python}"
    assert error["reason"].startswith("RuntimeError: the hull leaks")
    assert 'harbour/tasks.py", line' in error["detail"]
    assert "s3cret" not in done.stdout


def test_an_application_that_ends_the_interpreter_is_an_error_too(harbour: Harbour) -> None:
    harbour.install("2.0", tasks="import os\nos._exit(3)\n")
    harbour.configure(nowhere())
    assert the_error(harbour.ctl("check", "--json"))["reason"] == "it ended with status 3; no worker can start"
    harbour.install("2.1", tasks="raise SystemExit('no licence')\n")
    assert "no licence" in the_error(harbour.ctl("check", "--json"))["detail"]


def test_a_python_that_is_too_old_is_an_error_that_says_which_is_needed(harbour: Harbour, tmp_path: Path) -> None:
    old = old_python(tmp_path / "python", "3.10.13")
    file = harbour.configure(nowhere())
    file.write_text(file.read_text().replace(str(harbour.python), str(old)))
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == f"cannot run a worker on {old}"
    assert error["reason"] == "it is Python 3.10.13, and a worker needs 3.11 or later; no worker can start"


def test_what_start_up_files_print_is_no_report(harbour: Harbour) -> None:
    (harbour.site / "welcome.py").write_text("import os\nos.write(1, b'{}\\nwelcome aboard')\n")
    (harbour.site / "welcome.pth").write_text("import welcome\n")
    report = inspect(settings.load(harbour.configure("broker_url = 'memory://'\n")), os.environ)
    assert "failed" not in report


def test_an_import_that_hangs_is_given_up(harbour: Harbour) -> None:
    harbour.install("2.0", tasks="import time\ntime.sleep(1000)\n")
    report = inspect(settings.load(harbour.configure(nowhere())), os.environ, patience=1.5)
    assert report == {"failed": "time", "summary": "still not imported after 1.5 s"}


@pytest.mark.parametrize(
    ("app", "tables", "what", "words"),
    [
        ("harbour.tasks:application", {}, "cannot import harbour.tasks:application on", "has no 'application'"),
        ("harbour.tasks:moor", {}, "cannot import harbour.tasks:moor on", "not a Celery application"),
        ("nothing.at_all:app", {}, "cannot import nothing.at_all:app on", "No module named 'nothing'"),
    ],
    ids=["no such attribute", "no application", "no such module"],
)
def test_an_application_that_is_not_there_is_an_error(
    harbour: Harbour, app: str, tables: dict[str, Any], what: str, words: str
) -> None:
    harbour.configure(nowhere(), app, tables)
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"].startswith(what)
    assert words in error["reason"]


def test_a_distribution_and_an_interpreter_that_are_not_there_are_errors(harbour: Harbour) -> None:
    file = harbour.configure("broker_url = 'memory://'\nresult_backend = 'rpc://'\n")
    text = file.read_text()
    file.write_text(text.replace("['harbour']", "['harbor']"))
    assert "harbor is not installed for" in findings(harbour.ctl("check", "--json"))["error"][0]
    file.write_text(text.replace(str(harbour.python), "/nonexistent/python"))
    assert the_error(harbour.ctl("check", "--json"))["what"] == "cannot run /nonexistent/python"


def test_a_celeryconfig_with_a_mistake_and_one_that_is_missing(harbour: Harbour) -> None:
    harbour.configure("broker_url = \n")
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == f"cannot load {harbour.folder}/celeryconfig.py"
    assert error["reason"].startswith("SyntaxError")
    (harbour.folder / "celeryconfig.py").unlink()
    assert "cannot find the Celery configuration" in the_error(harbour.ctl("check", "--json"))["reason"]


@pytest.mark.parametrize("verb", [["check"], ["celery", "report"], ["celery", "inspect", "ping"]])
@pytest.mark.parametrize("text", ["password = 'S3cret' + 1\n", "password = 'S3cret'x\n"])
def test_a_celeryconfig_with_a_mistake_shows_no_password(harbour: Harbour, verb: list[str], text: str) -> None:
    harbour.configure(text)
    done = harbour.ctl(*verb)
    assert done.returncode != 0
    assert "celeryconfig.py" in done.stdout + done.stderr
    assert "S3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("celeryconfig", "what", "words"),
    [
        ("raise SystemExit('no licence')\n", "cannot load {folder}/celeryconfig.py", "SystemExit: no licence"),
        ("broker_url = 'pigeon://u:s3cret@h'\n", "cannot use the broker_url in", "No such transport: pigeon"),
        ("result_backend = 'pigeon://u:s3cret@h'\n", "cannot use the result_backend in", "No module named 'pigeon'"),
    ],
    ids=["ends the interpreter", "unknown broker", "unknown backend"],
)
def test_what_keeps_workers_from_starting_is_named_and_nothing_else_is_blamed(
    harbour: Harbour, celeryconfig: str, what: str, words: str
) -> None:
    harbour.configure(celeryconfig)
    done = harbour.ctl("check", "--json")
    error = the_error(done)
    assert error["what"].startswith(what.format(folder=harbour.folder))
    assert words in error["reason"]
    assert "s3cret" not in done.stdout + done.stderr


def test_a_celery_pool_whose_library_is_not_there_is_an_error(harbour: Harbour) -> None:
    (harbour.folder / "eventlet.py").write_text("raise ModuleNotFoundError('no eventlet here')\n")
    environment = f"{{PYTHONPATH = '{harbour.folder}'}}"
    harbour.configure(nowhere(), tables={"pools.green": {"celery_pool": "'eventlet'", "environment": environment}})
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == f"cannot use a pool's celery_pool on {harbour.python}"
    assert error["reason"] == "ModuleNotFoundError: no eventlet here; no worker can start"


def test_code_on_pythonpath_that_workers_do_not_run_is_a_warning(harbour: Harbour) -> None:
    """Plain Celery would run it: whoever edits it would wait for ever for the workers to run that."""
    folder = harbour.folder / "work"
    (folder / "harbour").mkdir(parents=True)
    (folder / "harbour/__init__.py").touch()
    (folder / "harbour/tasks.py").write_text(TASKS.format(version="2.0", late=True))
    (harbour.folder / "pool.env").write_text(f"PYTHONPATH=/nowhere:{folder}\n")
    second = {"pools.default": {}, "pools.other": {"environment_file": f"'{harbour.folder}/pool.env'"}}
    for tables in (second, {"pools.default": {"environment": f"{{PYTHONPATH = '{folder}'}}"}}):
        harbour.configure("task_always_eager = True\n", tables=tables)
        said = json.loads(harbour.ctl("check", "--json").stdout)["findings"]
        (found,) = [one for one in said if one["what"].startswith("workers do not run")]
        assert (found["level"], found["what"]) == ("warning", f"workers do not run harbour in {folder}")
        key = "[pools.other] environment_file" if tables is second else "[pools.default] environment"
        assert f"they run harbour in {harbour.site}, " in found["reason"]
        assert f"on which {key} has that folder" in found["reason"]
        assert found["remedy"].startswith(f"in {harbour.folder}/trapd.toml, take the folder off PYTHONPATH, or remove")


def test_trapds_own_application_is_found_where_trapd_is_not_installed(harbour: Harbour) -> None:
    harbour.configure(nowhere(), "trapd.distribute.app:app")
    error = the_error(harbour.ctl("check", "--json"))
    assert error["what"] == "cannot import the task modules of trapd.distribute.app:app"
    assert "No module named 'trap'" in error["reason"]  # the package Trap itself, which is not here either


def test_without_a_configuration_there_is_nothing_to_check(harbour: Harbour) -> None:
    exactly(ctl("--config", str(harbour.folder / "none.toml"), "check"), 78)


# --- celery ---------------------------------------------------------------------------------------------------------


def test_celery_runs_on_what_is_installed_where_there_is_no_generation(harbour: Harbour) -> None:
    harbour.configure("broker_url = 'memory://elsewhere'\ntask_default_queue = 'jetty'\n")
    done = harbour.ctl("celery", "report")
    exactly(done, 0)
    assert "task_default_queue: 'jetty'" in done.stdout
    assert "harbour 1.0" in done.stderr
    assert "trapctl: no generation is there; using what is installed now" in done.stderr


def test_celery_leaves_no_file_behind_in_a_generation_which_trapd_could_not_remove(harbour: Harbour) -> None:
    """As root it left a compiled celeryconfig there, password included, in a folder that was not trapd's."""
    harbour.configure("broker_url = 'memory://'\n")
    harbour.generation(7, "7.0", "broker_url = 'memory://'\n")
    before = sorted(harbour.folder.rglob("*"))
    exactly(harbour.ctl("celery", "report"), 0)
    assert sorted(harbour.folder.rglob("*")) == before


def test_the_exit_status_is_celerys_own(harbour: Harbour, tmp_path: Path) -> None:
    folder = f"broker_transport_options = {{'data_folder_in': '{tmp_path}', 'data_folder_out': '{tmp_path}', "
    harbour.configure(f"broker_url = 'filesystem://'\n{folder}'control_folder': '{tmp_path}'}}\n")
    exactly(harbour.ctl("celery", "--version"), 0)
    exactly(harbour.ctl("celery", "nonsense"), 2)
    done = harbour.ctl("celery", "inspect", "--timeout", "0.2", "ping")
    exactly(done, 69)
    assert "No nodes replied" in done.stdout + done.stderr
    assert "inspect" in harbour.ctl("celery", "--help").stdout


@pytest.mark.parametrize("generation", [False, True])
def test_celery_knows_the_command_that_asks_workers_for_their_code(
    harbour: Harbour, tmp_path: Path, generation: bool
) -> None:
    folder = f"broker_transport_options = {{'data_folder_in': '{tmp_path}', 'data_folder_out': '{tmp_path}', "
    celeryconfig = f"broker_url = 'filesystem://'\n{folder}'control_folder': '{tmp_path}'}}\n"
    harbour.configure(celeryconfig)
    if generation:
        harbour.generation(7, "7.0", celeryconfig)
    exactly(harbour.ctl("celery", "inspect", "--timeout", "0.2", "trapd_code"), 69)  # nobody is there, but it is asked


def test_celery_runs_on_the_newest_generation_where_trapd_is_not_running(harbour: Harbour) -> None:
    harbour.configure("task_default_queue = 'not this one'\n")
    for number, version in ((9, "9.0"), (10, "10.0")):
        harbour.generation(number, version, f"broker_url = 'memory://'\ntask_default_queue = 'jetty-{number}'\n")
    (harbour.folder / "state/generations/11").mkdir()  # half made
    done = harbour.ctl("celery", "report")
    exactly(done, 0)
    assert "task_default_queue: 'jetty-10'" in done.stdout
    assert "harbour 10.0" in done.stderr
    assert "harbour 1.0\n" not in done.stderr


def test_celery_runs_on_the_generation_that_the_running_trapd_knows_as_good(harbour: Harbour) -> None:
    harbour.configure("broker_url = 'memory://'\n")
    for number, version in ((7, "7.0"), (8, "8.0")):
        harbour.generation(number, version, f"broker_url = 'memory://'\ntask_default_queue = 'jetty-{number}'\n")
    (harbour.folder / "run").mkdir()
    with trapd(harbour.folder / "run", "stuck"):  # it knows 7 as good, and then wants 8
        exactly(harbour.ctl("recycle", "--no-wait"), 0)
        done = harbour.ctl("celery", "report")
    exactly(done, 0)
    assert "task_default_queue: 'jetty-7'" in done.stdout
    assert "harbour 7.0" in done.stderr


def test_a_module_in_the_working_directory_is_not_taken_for_an_installed_one(harbour: Harbour, tmp_path: Path) -> None:
    harbour.configure("broker_url = 'memory://'\nimports = ['anchor']\n")
    (tmp_path / "harbour.py").write_text("raise RuntimeError('the wrong harbour')")
    (tmp_path / "anchor.py").write_text("raise RuntimeError('the wrong anchor')")
    config = ["--config", str(harbour.folder / "trapd.toml")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "trapd.ctl.main", *config, "celery", "report"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    exactly(done, 0)
    assert "harbour 1.0" in done.stderr


def test_an_interpreter_that_cannot_run_is_told(harbour: Harbour) -> None:
    file = harbour.configure("broker_url = 'memory://'\n")
    file.write_text(file.read_text().replace(str(harbour.python), "/nonexistent/python"))
    done = harbour.ctl("celery", "report")
    exactly(done, 1)
    assert "cannot run /nonexistent/python: No such file or directory; see [app] python" in done.stderr
