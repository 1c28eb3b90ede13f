"""A Flask application made by a factory; its tasks run within the application's context."""

import os

from celery import Celery, Task
from flask import Flask

VERSION = "1.0"


def create_app():
    app = Flask(__name__)
    app.config.from_mapping(
        GREETING="Note",
        CELERY={
            "broker_url": os.environ.get("BROKER_URL", "redis://localhost"),
            "result_backend": os.environ.get("RESULT_BACKEND", "redis://localhost"),
            "task_default_queue": "notes",
            "task_serializer": "pickle",
            "result_serializer": "pickle",
            "accept_content": ["pickle", "json"],
            "worker_prefetch_multiplier": 1,
        },
    )
    app.config.from_prefixed_env("NOTES")
    init_celery(app)
    return app


def init_celery(app):
    class FlaskTask(Task):
        def __call__(self, *args, **kwargs):
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app

    from notes import tasks  # noqa: F401 - registers them
