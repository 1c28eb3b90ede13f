"""The application gets the system-wide settings, and errors in them are told in words that help."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery, _state
from celery.app.utils import find_app as celery_finds

from trapd.worker import application
from trapd.worker.job import Job
from trapd.worker.report import ConfigurationError


@pytest.fixture(autouse=True)
def modules_as_before() -> Iterator[None]:
    modules = dict(sys.modules)
    yield
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)


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


def own_settings(**settings: object) -> str:
    """The name of a module of the application's own."""
    sys.modules["own"] = ModuleType("own")
    vars(sys.modules["own"]).update(settings)
    return "own"


OWN = {"broker_url": "amqp://dev", "task_default_queue": "jobs", "worker_prefetch_multiplier": 9}


def read(app: Celery) -> Celery:
    assert app.conf.worker_pool
    return app


def run() -> None:
    """A task."""


SOURCES: dict[str, Callable[[Celery], object]] = {
    "dict": lambda app: app.config_from_object(dict(OWN)),
    "module": lambda app: app.config_from_object(own_settings(**OWN)),
    "object": lambda app: app.config_from_object(type("Settings", (), OWN)),
    "namespace": lambda app: app.config_from_object(
        own_settings(**{f"CELERY_{name.upper()}": value for name, value in OWN.items()}), namespace="CELERY"
    ),
    "assigned": lambda app: app.conf.update(OWN),
    "assigned after one was read": lambda app: read(app).conf.update(OWN),
    "read anew": lambda app: read(app).config_from_object(dict(OWN)),
    "read at once": lambda app: app.config_from_object(dict(OWN), force=True),
}


@pytest.mark.parametrize("say", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("early", [False, True], ids=["not read before", "read before"])
def test_the_system_wide_settings_win_and_the_applications_others_stay(
    tmp_path: Path, say: Callable[[Celery], object], early: bool
) -> None:
    app = new()
    say(app)
    if early:
        read(app)
    configured(tmp_path, "broker_url = 'memory://'\nworker_prefetch_multiplier = 7\n", app)
    assert (app.conf.broker_url, app.conf.worker_prefetch_multiplier) == ("memory://", 7)
    assert app.conf.task_default_queue == "jobs"
    assert list(app.amqp.queues) == ["jobs"]


def test_old_names_in_one_file_and_new_ones_in_the_other_are_no_mixture(tmp_path: Path) -> None:
    app = new(broker="amqp://dev")
    app.config_from_object({"CELERY_DEFAULT_QUEUE": "jobs", "CELERY_ACKS_LATE": True})
    configured(tmp_path, "task_acks_late = False\nbroker_url = 'memory://'\n", app)
    assert (app.conf.broker_url, app.conf.task_acks_late, app.conf.task_default_queue) == ("memory://", False, "jobs")
    app = new()
    app.config_from_object({"task_default_queue": "jobs"})
    assert configured(tmp_path, "CELERY_DEFAULT_QUEUE = 'wide'\n", app).conf.task_default_queue == "wide"


def test_a_mixture_in_the_applications_own_settings_is_said_to_be_there(tmp_path: Path) -> None:
    app = new()
    app.config_from_object({"CELERY_ACKS_LATE": True, "task_default_queue": "a", "broker_url": "memory://"})
    with pytest.raises(ConfigurationError, match="mix old and new names of settings in the application's own settings"):
        configured(tmp_path, "", app)


def test_what_an_import_has_made_of_the_applications_settings_is_made_anew(tmp_path: Path) -> None:
    """A connection pool, queues, a result backend, a task: what has read a setting keeps it."""
    app = new(broker="memory://dev//", backend="cache+memory://")
    app.config_from_object({"task_acks_late": True, "task_serializer": "pickle", "timezone": "Europe/Amsterdam"})
    add = app.task(run)
    assert (add.acks_late, add.serializer, str(app.timezone)) == (True, "pickle", "Europe/Amsterdam")
    made = app.producer_pool, app.backend, app.control, app.amqp
    text = "broker_url = 'memory://'\nresult_backend = 'rpc://'\ntask_acks_late = False\ntask_serializer = 'json'\n"
    configured(tmp_path, text + "task_default_queue = 'wide'\n", app)
    assert (add.acks_late, add.serializer, str(app.timezone)) == (False, "json", "Europe/Amsterdam")
    for old, current in zip(made, (app.producer_pool, app.backend, app.control, app.amqp), strict=True):
        assert old is not current
    assert list(app.amqp.queues) == ["wide"]


def test_what_is_said_of_one_task_alone_stays(tmp_path: Path) -> None:
    app = new()
    add = app.task(run, acks_late=True)
    configured(tmp_path, "task_acks_late = False\n", app)
    assert add.acks_late


def test_an_application_that_reads_its_settings_anew_later_keeps_the_system_wide_ones(tmp_path: Path) -> None:
    """In a handler of worker_init, say."""
    app = configured(tmp_path, "broker_url = 'memory://'\n", new())
    app.config_from_object({"broker_url": "amqp://dev", "task_default_queue": "jobs"})
    assert (app.conf.broker_url, app.conf.task_default_queue) == ("memory://", "jobs")


def test_what_a_task_module_assigns_does_not_hide_the_system_wide_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_state, "default_app", _state.default_app)  # put back afterwards
    monkeypatch.setattr(_state._tls, "current_app", _state._tls.current_app)
    app = new(broker="memory://")
    job = Job("default", "7-1", tmp_path, tmp_path, {"number": 7, "celeryconfig": "celeryconfig.py"})
    job.celeryconfig.write_text("task_default_queue = 'wide'\n")
    overlay = application.configure(app, application.load_config(job.celeryconfig), job)
    app.conf.task_default_queue = "mine"
    app.conf.task_acks_late = True
    application.complete(app, overlay)
    assert (app.conf.task_default_queue, list(app.amqp.queues), app.conf.task_acks_late) == ("wide", ["wide"], True)


def test_the_applications_own_module_celeryconfig_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "celeryconfig.py").write_text("task_default_queue = 'jobs'\nbroker_url = 'amqp://dev'\n")
    monkeypatch.syspath_prepend(folder)
    app = new()
    app.config_from_object("celeryconfig")
    configured(tmp_path, "broker_url = 'memory://'\n", app)
    assert (app.conf.broker_url, app.conf.task_default_queue) == ("memory://", "jobs")


def test_an_application_that_has_no_celeryconfig_finds_the_system_wide_one(tmp_path: Path) -> None:
    app = new()
    app.config_from_object("celeryconfig")
    assert configured(tmp_path, "task_default_queue = 'wide'\n", app).conf.task_default_queue == "wide"


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


SPELLINGS = [
    "proj",
    "proj.celery",
    "proj:app",
    "proj.celery:app",
    "proj.celery.app",
    "proj.tasks",
    "proj.other:apps.one",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "__init__.py": "from .celery import app\n",
        "celery.py": "from celery import Celery\napp = Celery('proj', set_as_current=False)\n",
        "tasks.py": "from .celery import app as service\n",
        "other.py": "import types\nfrom .celery import app\napps = types.SimpleNamespace(one=app)\n",
    }
    (tmp_path / "proj").mkdir()
    for name, text in files.items():
        (tmp_path / "proj" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "proj"


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_application_is_found_as_celery_finds_it(project: Path, name: str) -> None:
    assert application.find_app(name).main == "proj"
    if name != SPELLINGS[-1]:  # which only trapd takes
        assert celery_finds(name) is application.find_app(name)


@pytest.mark.parametrize(
    ("init", "celery", "error", "message"),
    [
        ("", "import nosuchmodule\n", ModuleNotFoundError, "No module named 'nosuchmodule'"),
        ("import proj.nothing_here\n", "", ModuleNotFoundError, "No module named 'proj.nothing_here'"),
        ("None.x\n", "", AttributeError, "'NoneType' object has no attribute 'x'"),
        ("", "None.x\n", AttributeError, "'NoneType' object has no attribute 'x'"),
        ("", "", ConfigurationError, "cannot find the application proj: proj has no `app` and no `celery`"),
    ],
)
def test_why_an_application_is_not_found_is_told_in_its_own_words(
    project: Path, init: str, celery: str, error: type[Exception], message: str
) -> None:
    """Celery's finder tells of a broken proj/celery.py as "module 'proj' has no attribute 'celery'"."""
    (project / "__init__.py").write_text(init)
    (project / "celery.py").write_text(celery)
    with pytest.raises(error, match=message):
        application.find_app("proj")


def test_the_import_error_of_an_application_is_its_own() -> None:
    with pytest.raises(ModuleNotFoundError, match="nosuchmodule"):
        application.find_app("nosuchmodule:app")
