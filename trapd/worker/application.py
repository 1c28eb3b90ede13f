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
from celery.exceptions import ImproperlyConfigured

from trapd.worker.job import Job
from trapd.worker.report import ConfigurationError

CONFIG = "celeryconfig"
_RENAME = re.compile(r"(\w+)\s+-> (\w+)")  # in Celery's complaint about mixed names

# What `Celery("name", broker=..., backend=...)` fixes so firmly that no configuration file could say otherwise.
_OF_THE_CONSTRUCTOR = {
    "broker_url": ("broker_url", "BROKER_URL"),
    "result_backend": ("result_backend", "CELERY_RESULT_BACKEND"),
}


def load(job: Job) -> Celery:
    """The application, complete: configured, finalised, all its task modules imported, its smoke test passed.

    Raises ConfigurationError, or whatever the application's own code raises.
    """
    config = load_config(job.celeryconfig)
    app = find_app(str(job.manifest["app"]))
    app.set_current()
    app.set_default()
    configure(app, config, job)
    app.loader.init_worker()  # imports what `imports`, `include` and autodiscovery name
    app.finalize()  # after them, as Celery has it: they may have connected to its signal
    assert app.backend  # made on first use otherwise, which would be after the start
    if job.manifest.get("smoke_test"):
        resolve(str(job.manifest["smoke_test"]), "smoke test")()
    return app


def load_config(file: Path) -> ModuleType:
    """The file as the module ``celeryconfig``, whatever of that name lies elsewhere on the path.

    No traceback shows a line of it, whoever prints it and when: there may be a password in the line.
    """
    spec = importlib.util.spec_from_file_location(CONFIG, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
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
    """Import ``module:attribute``. Raises ConfigurationError if that is no Celery application."""
    app = resolve(name, "application")
    if not isinstance(app, Celery):
        raise ConfigurationError(f"cannot use {name}: it is a {type(app).__name__}, not a Celery application")
    return app


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


def configure(app: Celery, config: ModuleType, job: Job) -> None:
    """Give it the system-wide settings. They win over a file of the application's own and over its constructor.

    Settings that it assigns (``app.conf.x = ...``) stay on top, as Celery has it. Raises ConfigurationError.
    """
    app.namespace = None  # an application may have asked for a prefix in *its* settings; ours have none
    try:
        app.config_from_object(CONFIG)
        app.conf.finalize()
    except ImproperlyConfigured as error:
        raise _in_our_words(error, job) from None
    for setting, spellings in _OF_THE_CONSTRUCTOR.items():
        for spelling in spellings:
            if hasattr(config, spelling):
                app.conf[setting] = getattr(config, spelling)
    if app.conf.get("worker_pool_start_method", "fork") != "fork":
        raise ConfigurationError(
            "cannot use worker_pool_start_method: the Celery pool's children would import the application themselves, "
            "from what is installed and not from the snapshot; remove it from celeryconfig.py"
        )


def _in_our_words(error: Exception, job: Job) -> Exception:
    renames = _RENAME.findall(str(error))
    if not renames:
        return error
    names = ", ".join(f"{wrong} to {right}" for wrong, right in renames)
    backwards = "" if renames[0][0].isupper() else ", or use the new, lower-case names throughout"
    return ConfigurationError(
        f"cannot mix old and new names of settings in celeryconfig.py: rename {names}{backwards} "
        f"(generation {job.number}'s copy of the file: {job.celeryconfig})"
    )
