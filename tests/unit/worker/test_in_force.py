"""Which settings are in force and who says so."""

from __future__ import annotations

import os
from typing import Any

import pytest
from celery import Celery

from trapd.worker import in_force
from trapd.worker.overlay import Overlay

DJANGO = {
    "TIME_ZONE": "Europe/Amsterdam",
    "CELERY_ENABLED": True,  # its own affair
    "CELERY_BROKER_URL": "amqp://user:S3cret@dev",
    "CELERY_TASK_ROUTES": {"a": {"queue": "q"}},
    "CELERY_TASK_ACK_LATE": True,
    "CELERY_RESULT_BACKEND": ["redis://:S3cret@dev", "redis://dev?password=S3cret"],
    "CELERY_BROKER_TRANSPORT_OPTIONS": {"sentinel_kwargs": {"password": "S3cret"}, "nodes": [{"passwd": "S3cret"}]},
}


@pytest.fixture
def app() -> Celery:
    app = Celery("app", set_as_current=False)
    app.config_from_object(dict(DJANGO), namespace="CELERY")
    return app


def put(app: Celery, **settings: Any) -> Overlay:
    overlay = Overlay(settings)
    overlay.put_on(app)
    return overlay


def test_each_setting_that_somebody_said_is_listed_without_its_secrets(app: Celery) -> None:
    app.conf.task_default_queue = "jobs"
    overlay = put(app, broker_url="redis://:S3cret@h")
    listed = {one["name"]: one for one in in_force.in_force(app, overlay)}
    assert {name: one["by"] for name, one in listed.items()} == {
        "broker_url": "celeryconfig",
        "broker_transport_options": "application",
        "result_backend": "application",
        "task_default_queue": "application",
        "task_routes": "application",
    }
    assert listed["broker_url"]["instead_of"] == "'amqp://user:***@dev'"
    assert listed["task_routes"]["instead_of"] is None
    assert "S3cret" not in str(listed)


def test_what_the_environment_says_goes_first_as_in_celery(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CELERY_BROKER_URL", "amqp://user:S3cret@elsewhere")
    overlay = put(app, broker_url="redis://h")
    (broker,) = [one for one in in_force.in_force(app, overlay) if one["name"] == "broker_url"]
    assert broker["by"] == "environment"
    assert app.conf.broker_url == "amqp://user:S3cret@elsewhere"
    assert "elsewhere" in broker["value"]
    assert "S3cret" not in broker["value"]


def test_typos_of_the_applications_own_are_found_in_its_spelling(app: Celery) -> None:
    app.conf.worker_concurency = 3
    assert in_force.unknown_own(app, put(app, broker_url="redis://h")) == {
        "CELERY_TASK_ACK_LATE": "CELERY_TASK_ACKS_LATE",
        "worker_concurency": "worker_concurrency",
    }


def test_typos_in_celeryconfig_are_found_whatever_they_begin_with() -> None:
    written = {
        "imprts": (),
        "imports": (),
        "import_dir": "a program's own name",
        "worker_concurency": 1,
        "task_new_in_6": 1,
        "CELERYD_FORCE_EXECV": True,
        "CELERY_ACK_LATE": True,
        "os": os,
        "task_router": lambda: None,
        "_task_x": 1,
    }
    assert in_force.unknown(written) == {
        "imprts": "imports",
        "worker_concurency": "worker_concurrency",
        "task_new_in_6": None,
        "CELERYD_FORCE_EXECV": None,
        "CELERY_ACK_LATE": "CELERY_ACKS_LATE",
    }
