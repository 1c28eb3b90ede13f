"""The application gets the system-wide settings, and errors in them are told in words that help."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery

from trapd.worker import application
from trapd.worker.job import Job
from trapd.worker.report import ConfigurationError


@pytest.fixture(autouse=True)
def modules_as_before() -> Iterator[None]:
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def configured(folder: Path, text: str, app: Celery) -> Celery:
    manifest = {"number": 7, "celeryconfig": "celeryconfig.py"}
    job = Job("default", "7-1", folder, folder, manifest)
    job.celeryconfig.write_text(text)
    application.configure(app, application.load_config(job.celeryconfig), job)
    return app


def new(**options: object) -> Celery:
    return Celery("app", set_as_current=False, **options)


def test_new_names_work(tmp_path: Path) -> None:
    app = configured(tmp_path, "broker_url = 'memory://'\ntask_acks_late = True\n", new())
    assert (app.conf.broker_url, app.conf.task_acks_late) == ("memory://", True)


@pytest.mark.parametrize("name", ["worker_pool_start_method", "CELERYD_POOL_START_METHOD"])
def test_a_celeryconfig_that_spawns_children_is_refused_before_ready(tmp_path: Path, name: str) -> None:
    """They would be without the snapshot, and without celeryconfig: each of them dies as soon as it is there."""
    assert configured(tmp_path, f"{name} = 'fork'\n", new()).conf.worker_pool_start_method == "fork"
    with pytest.raises(ConfigurationError, match="cannot use worker_pool_start_method"):
        configured(tmp_path, f"{name} = 'spawn'\n", new())


def test_old_names_work(tmp_path: Path) -> None:
    text = """
BROKER_URL = 'memory://'
CELERY_RESULT_BACKEND = 'cache+memory://'
CELERY_IMPORTS = ('somewhere',)
CELERY_ALWAYS_EAGER = CELERY_EAGER_PROPAGATES_EXCEPTIONS = True
"""
    conf = configured(tmp_path, text, new()).conf
    assert (conf.broker_url, conf.result_backend, conf.imports) == ("memory://", "cache+memory://", ("somewhere",))
    assert conf.task_always_eager
    assert conf.task_eager_propagates


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("broker_url = 'a'\nresult_backend = 'b'\nCELERY_IMPORTS = ()\n", "rename CELERY_IMPORTS to imports (gen"),
        (
            "BROKER_URL = 'a'\nCELERY_IMPORTS = ()\nCELERYD_CONCURRENCY = 1\ntask_acks_late = 1\nimports = ()\n",
            "rename task_acks_late to CELERY_ACKS_LATE, or use the new, lower-case names throughout (gen",
        ),
    ],
)
def test_mixed_names_are_refused_with_what_to_rename(tmp_path: Path, text: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(tmp_path, text, new())
    assert str(error.value).startswith("cannot mix old and new names of settings in celeryconfig.py: ")
    assert advice in str(error.value)
    assert str(tmp_path / "celeryconfig.py") in str(error.value)


def test_the_system_wide_settings_win_over_the_constructor(tmp_path: Path) -> None:
    app = new(broker="amqp://dev", backend="rpc://")
    configured(tmp_path, "BROKER_URL = 'memory://'\n", app)
    assert (app.conf.broker_url, app.conf.result_backend) == ("memory://", "rpc://")


def test_the_system_wide_settings_win_over_a_file_of_the_applications_own(tmp_path: Path) -> None:
    sys.modules["own"] = ModuleType("own")
    vars(sys.modules["own"]).update(broker_url="amqp://dev", task_acks_late=True)
    app = new()
    app.config_from_object("own")
    assert app.conf.task_acks_late
    configured(tmp_path, "broker_url = 'memory://'\n", app)
    assert (app.conf.broker_url, app.conf.task_acks_late) == ("memory://", False)


def test_a_prefix_that_the_application_wants_in_its_own_settings_is_not_wanted_in_ours(tmp_path: Path) -> None:
    sys.modules["own"] = ModuleType("own")
    app = new()
    app.config_from_object("own", namespace="CELERY")
    assert configured(tmp_path, "broker_url = 'memory://'\n", app).conf.broker_url == "memory://"


def test_settings_that_the_application_assigns_stay_on_top(tmp_path: Path) -> None:
    app = new()
    app.conf.worker_prefetch_multiplier = 3
    configured(tmp_path, "worker_prefetch_multiplier = 7\n", app)
    assert app.conf.worker_prefetch_multiplier == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot find the Celery configuration"):
        application.load_config(tmp_path / "celeryconfig.py")


WORD = "S3cret"
LINES = {
    "while it is loaded": f"password = '{WORD}' + 1\n",
    "a warning": f"import warnings; password = '{WORD}'; warnings.warn('old'); 1 / 0\n",
    "no Python": f"password = '{WORD}'x\n",
    "no text": f"password = b'{WORD}\u00e9'\n",
}


@pytest.mark.parametrize("text", LINES.values(), ids=LINES)
def test_no_traceback_shows_a_line_of_the_file(tmp_path: Path, text: str) -> None:
    """Neither one that Python itself prints, nor one of the traceback module: they find the source on their own."""
    (tmp_path / "celeryconfig.py").write_text(text, encoding="latin-1")
    program = f"""
import pathlib, sys, traceback
from trapd.worker.application import load_config
try:
    load_config(pathlib.Path({str(tmp_path / "celeryconfig.py")!r}))
except Exception:
    traceback.print_exc()
    raise
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.count("Error: ") == 2
    assert done.stderr.count(f"{tmp_path}/celeryconfig.py") >= 2
    assert WORD not in done.stderr


def test_no_traceback_of_a_later_call_shows_a_line_of_the_file(tmp_path: Path) -> None:
    """A routing function, say, whose errors Celery logs."""
    (tmp_path / "celeryconfig.py").write_text(f"def task_routes(*_):\n    return '{WORD}' + 1\n")
    config = application.load_config(tmp_path / "celeryconfig.py")
    with pytest.raises(TypeError) as error:
        config.task_routes()
    shown = "".join(traceback.format_exception(error.value))
    assert f'File "<{tmp_path}/celeryconfig.py>", line 2, in task_routes' in shown
    assert WORD not in shown


def test_an_error_inside_the_file_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("open('/nowhere')\n")
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        application.load_config(tmp_path / "celeryconfig.py")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pathlib:Path", "cannot use pathlib:Path: it is a type, not a Celery application"),
        ("pathlib:app", "cannot find the application pathlib:app: pathlib has no 'app'"),
        ("os:path.app", "cannot find the application os:path.app: os has no 'path.app'"),
    ],
)
def test_what_is_no_application_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        application.find_app(name)
    assert str(error.value) == message


def test_the_import_error_of_an_application_is_its_own() -> None:
    with pytest.raises(ModuleNotFoundError, match="nosuchmodule"):
        application.find_app("nosuchmodule:app")
