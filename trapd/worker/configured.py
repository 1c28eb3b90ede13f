"""The service's application with the service's settings, for Celery's own command line (``-A`` this module, ``:app``).

The environment says which: TRAPD_GENERATION (a snapshot's folder), or TRAPD_APP and TRAPD_CELERYCONFIG (what is
installed now).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from celery import Celery

from trapd.worker import bootsteps, launch
from trapd.worker.application import configure, find_app, load_config
from trapd.worker.imports import blind_finders, put_first
from trapd.worker.job import Job


def installed(app: str, celeryconfig: Path) -> Job:
    """A job on what is installed now, instead of on a snapshot."""
    manifest = {"number": 0, "app": app, "celeryconfig": str(celeryconfig)}
    return Job(pool="", slot="", generation=celeryconfig.parent, runtime=celeryconfig.parent, manifest=manifest)


def load(environ: Mapping[str, str]) -> Celery:
    """Raises what application.py raises."""
    if folder := environ.get("TRAPD_GENERATION"):
        manifest = launch.read_manifest(Path(folder))
        job = Job(pool="", slot="", generation=Path(folder), runtime=Path(folder), manifest=manifest)
        put_first(job.folders)
        blind_finders(job.packages, job.code)
    else:
        job = installed(environ["TRAPD_APP"], Path(environ["TRAPD_CELERYCONFIG"]))
    config = load_config(job.celeryconfig)
    app = find_app(str(job.manifest["app"]))
    if folder:
        put_first(job.folders)  # Celery's fix-up for Django has put the working directory before them
    bootsteps.answer(job)
    configure(app, config, job)
    return app


def __getattr__(name: str) -> Celery:
    """``app`` is made when it is asked for, so that importing this module has no effects."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = load(os.environ)
    return app
