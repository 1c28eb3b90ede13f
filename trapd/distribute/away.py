"""Broker and result backend, when they do not answer: which errors mean that, whatever library raises them."""

from __future__ import annotations

import contextlib
import sys

from celery import Celery
from celery.exceptions import BackendError
from kombu.exceptions import OperationalError

Errors = tuple[type[BaseException], ...]


def errors(app: Celery) -> Errors:
    """Return what is raised when the broker or the result backend of this application does not answer."""
    found = [OSError, OperationalError, BackendError, *app.connection_for_write().connection_errors]
    with contextlib.suppress(Exception):  # one that cannot even be loaded raises what it raises
        found += getattr(app.backend, "connection_errors", ())  # of Redis: they are no OSError
    if database := sys.modules.get("sqlalchemy.exc"):
        found.append(database.DBAPIError)
    return tuple(found)


def where(app: Celery) -> str:
    """Name both, without passwords."""
    broker, results = app.connection_for_write().as_uri(), app.backend.as_uri()
    return f"the broker {broker}" if results.startswith("rpc:") else f"the broker {broker}, or {results} for results,"


def why(error: BaseException) -> str:
    """Return the reason in a line. Celery's own error of a database says only what it wanted of it."""
    found = (error.__cause__ or error.__context__ or error) if isinstance(error, BackendError) else error
    return str(found).strip().partition("\n")[0]
