"""Loads the Celery application, the system-wide settings and every task module; so whatever is wrong is wrong now."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from celery import Celery
from celery.app.utils import find_app as celery_finds
from celery.exceptions import ImproperlyConfigured

from trapd.worker import file_broker, green, user_options
from trapd.worker.imports import put_first
from trapd.worker.job import Job
from trapd.worker.overlay import Overlay
from trapd.worker.report import ConfigurationError

CONFIG = "celeryconfig"
_RENAME = re.compile(r"(\w+)\s+-> (\w+)")  # in Celery's complaint about mixed names


def load(job: Job, program: str) -> tuple[Celery, dict[str, Any]]:
    """The application, complete: configured, all its task modules imported, finalised, its smoke test passed.

    With it the values of the options that it adds to those of the ``program``, worker or beat.

    Raises ConfigurationError, or whatever the application's own code raises.
    """
    config = load_config(job.celeryconfig)
    app = find_app(str(job.manifest["app"]))
    put_first(job.folders)  # Celery's fix-up for Django has put the working directory before them
    overlay = configure(app, config, job)
    green.begin_again_for(job.settings["celery_pool"] or app.conf.worker_pool)
    options = user_options.values(app, program)
    user_options.announce(app, options)
    app.loader.init_worker()  # imports what `imports`, `include` and autodiscovery name
    complete(app, overlay)
    assert app.backend  # made on first use otherwise, which would be after the start
    if job.manifest.get("smoke_test"):
        resolve(str(job.manifest["smoke_test"]), "smoke test")()
    return app, options


def complete(app: Celery, overlay: Overlay) -> None:
    """What Celery's worker does once the task modules are imported: they may have connected to the signals of it."""
    app.set_current()
    app.set_default()
    app.finalize()
    overlay.renew(app)


def load_config(file: Path) -> ModuleType:
    """The file as a module. ``import celeryconfig`` finds it too, unless the application has a module of that name.

    No traceback shows a line of it, whoever prints it and when: there may be a password in the line.
    """
    spec = importlib.util.spec_from_file_location(CONFIG, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    if CONFIG not in sys.modules and importlib.util.find_spec(CONFIG) is None:
        sys.modules[CONFIG] = module
    try:
        # for a name in angle brackets Python looks for no source
        code = compile(file.read_bytes(), f"<{file}>", "exec", dont_inherit=True)
    except FileNotFoundError:
        raise ConfigurationError(f"cannot find the Celery configuration {file}") from None
    except SyntaxError as error:
        error.filename, error.text = str(file), None
        raise
    exec(code, module.__dict__)
    return module


def find_app(name: str) -> Celery:
    """Import what ``celery -A`` takes: a module or package that has the application, or ``module:attribute``.

    Raises ConfigurationError if that is no Celery application.
    """
    app = resolve(name, "application") if ":" in name else _found_by_celery(name)
    if not isinstance(app, Celery):
        raise ConfigurationError(f"cannot use {name}: it is a {type(app).__name__}, not a Celery application")
    return app


def _found_by_celery(name: str) -> Any:
    try:
        return celery_finds(name)
    except AttributeError:
        module = importlib.import_module(name)  # whose own error it may have been; then that is raised here again
    if hasattr(module, "__path__"):
        _import_if_there(f"{name}.celery")  # of which Celery's finder would not tell why it cannot be imported
    raise ConfigurationError(
        f"cannot find the application {name}: {module.__name__} has no `app` and no `celery`; write module:attribute"
    )


def _import_if_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise


def resolve(name: str, what: str) -> Any:
    """What ``module:attribute`` names. Raises ConfigurationError if there is none, or whatever the import does."""
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise ConfigurationError(f"cannot find the {what} {name}: {module} has no {attribute!r}") from None
    return found


def configure(app: Celery, config: ModuleType, job: Job) -> Overlay:
    """Put the system-wide settings on top of the application's own, which stay as they are otherwise.

    Raises ConfigurationError.
    """
    file_broker.install()  # after celeryconfig.py, which may have put a class of its own there
    overlay = read(config, job)
    put(overlay, app)
    return overlay


def read(config: ModuleType, job: Job) -> Overlay:
    """Raises ConfigurationError for a mixture of old and new names."""
    try:
        return Overlay(vars(config))
    except ImproperlyConfigured as error:
        file = f" (generation {job.number}'s copy of the file: {job.celeryconfig})"
        raise _in_our_words(error, "celeryconfig.py", file) from None


def put(overlay: Overlay, app: Celery) -> None:
    """Raises ConfigurationError, or what reading the application's own settings raises."""
    try:
        overlay.put_on(app)
    except ImproperlyConfigured as error:
        raise _in_our_words(error, "the application's own settings", "") from None
    if app.conf.get("worker_pool_start_method", "fork") != "fork":
        raise ConfigurationError(
            "cannot use worker_pool_start_method: the Celery pool's children would import the application themselves, "
            "from what is installed and not from the snapshot; remove it from Celery's settings"
        )


def _in_our_words(error: Exception, where: str, file: str) -> Exception:
    renames = _RENAME.findall(str(error))
    if not renames:
        return error
    names = ", ".join(f"{wrong} to {right}" for wrong, right in renames)
    backwards = "" if renames[0][0].isupper() else ", or use the new, lower-case names throughout"
    return ConfigurationError(f"cannot mix old and new names of settings in {where}: rename {names}{backwards}{file}")
