"""Applications as people write them: the settings that plain `celery worker` gives them, a worker of trapd does too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.snapshots import make_generation
from trapd.spec import PoolSpec
from trapd.worker import launch

# Writes down what a worker is about to work with, in place of working.
WITNESS = """
import json, os
from celery import signals
from celery.app.defaults import SETTING_KEYS

@signals.worker_init.connect
def witness(sender, **_):
    app = sender.app
    seen = {name: repr(app.conf.get(name)) for name in SETTING_KEYS}
    seen["include"] = sorted(app.conf.include)  # from a set
    seen["queues"] = sorted(app.amqp.queues)
    seen["tasks"] = {name: [task.acks_late, task.serializer] for name, task in app.tasks.items() if name[:4] == "proj"}
    seen["timezone in use"] = str(app.timezone)
    with open(os.environ["WITNESS"], "w") as file:
        json.dump(seen, file)
    os._exit(0)
"""
QUEUES = "{'proj.tasks.mail': {'queue': 'mail'}}"
TASKS = "from celery import shared_task\n\n@shared_task\ndef mail():\n    pass\n"
NEW = f"""
task_default_queue = 'jobs'
task_routes = {QUEUES}
task_acks_late = True
accept_content = ['json', 'pickle']
timezone = 'Europe/Amsterdam'
worker_prefetch_multiplier = 9
imports = ['proj.tasks']
"""
OLD = f"""
CELERY_DEFAULT_QUEUE = 'jobs'
CELERY_ROUTES = {QUEUES}
CELERY_ACKS_LATE = True
CELERYD_PREFETCH_MULTIPLIER = 9
CELERY_IMPORTS = ['proj.tasks']
"""
DJANGO = f"""
TIME_ZONE = 'Europe/Berlin'
CELERY_TASK_DEFAULT_QUEUE = 'jobs'
CELERY_TASK_ROUTES = {QUEUES}
CELERY_TASK_ACKS_LATE = True
CELERY_ACCEPT_CONTENT = ['json', 'pickle']
CELERY_IMPORTS = ['proj.tasks']
"""
APP = "from celery import Celery\nimport proj.witness\n"
APPLICATIONS: dict[str, tuple[str, Mapping[str, str]]] = {
    "namespace": (
        "proj",
        {
            "settings.py": DJANGO,
            "celery.py": f"{APP}app = Celery('proj')\napp.config_from_object('proj.settings', namespace='CELERY')\n",
            "__init__.py": "from .celery import app as celery_app\n",
        },
    ),
    "dict": (
        "proj.celery",
        {"celery.py": f"{APP}app = Celery('proj', config_source={{'task_default_queue': 'jobs', 'task_time_limit': 60,"
         "'imports': ['proj.tasks']})\n"},
    ),
    "module": (
        "proj.celery:app",
        {"config.py": NEW, "celery.py": f"{APP}app = Celery('proj')\napp.config_from_object('proj.config')\n"},
    ),
    "module with old names": (
        "proj:app",
        {
            "config.py": OLD,
            "__init__.py": f"{APP}from . import config\napp = Celery('proj')\napp.config_from_object(config)\n",
        },
    ),
    "a module that calls create_app()": (
        "proj.make",
        {
            "factory.py": f"{APP}def create_app(name):\n"
            "    app = Celery(name, include=['proj.tasks'], task_acks_late=True)\n"
            "    app.conf.update(task_default_queue='jobs')\n    return app\n",
            "make.py": "from proj.factory import create_app\ncelery = create_app('proj')\ncelery.set_default()\n",
        },
    ),
    "assigned before and after a read": (
        "proj.celery",
        {
            "celery.py": f"{APP}app = Celery('proj', broker='memory://dev', include=['proj.tasks'])\n"
            "app.conf.task_default_queue = 'jobs'\nassert app.conf.task_default_queue == 'jobs'\n"
            f"app.conf.task_routes = {QUEUES}\napp.conf.task_acks_late = True\n"
        },
    ),
    "read anew, and by a task module": (
        "proj.celery",
        {
            "celery.py": f"{APP}app = Celery('proj', include=['proj.tasks'])\nassert app.conf.task_default_queue\n"
            "app.config_from_object({'task_default_queue': 'jobs', 'task_acks_late': True})\n",
            "tasks.py": f"{TASKS}\nfrom proj.celery import app\napp.conf.task_default_queue = 'mail'\n",
        },
    ),
    "its own module celeryconfig": (
        "proj.celery",
        {
            "../celeryconfig.py": NEW + "result_expires = 60\n",
            "celery.py": f"{APP}app = Celery('proj', loader='default')\n",
        },
    ),
}  # fmt: skip
FIXED = {"broker_url": "memory://", "result_backend": "cache+memory://"}


def seen_by(command: list[str], env: Mapping[str, str], folder: Path) -> dict[str, Any]:
    note = folder / "seen.json"
    note.unlink(missing_ok=True)
    more = {"WITNESS": str(note), "C_FORCE_ROOT": "1"}  # pickle; tests may run as root
    done = subprocess.run(command, env={**env, **more}, cwd=folder, capture_output=True, text=True)
    assert note.exists(), done.stdout + done.stderr
    return dict(json.loads(note.read_text()))


@pytest.mark.parametrize(("name", "files"), APPLICATIONS.values(), ids=APPLICATIONS)
def test_the_settings_are_those_of_plain_celery_but_for_what_celeryconfig_fixes(
    short_path: Path, name: str, files: Mapping[str, str]
) -> None:
    whole = {"__init__.py": "", "witness.py": WITNESS, "tasks.py": TASKS, **files}
    folder = make_generation(
        short_path / "generations",
        7,
        celeryconfig="".join(f"{name} = {value!r}\n" for name, value in FIXED.items()),
        python=sys.executable,
        files={f"proj/{file}": text for file, text in whole.items()},
        app=name,
        watched={"proj": ["proj"]},
        pools={"default": PoolSpec("default")},
    )
    # as an administrator would, in the project's folder
    plain = [sys.executable, "-m", "celery", "-A", name, "-b", FIXED["broker_url"], "worker", "-c", "1"]
    wanted = seen_by(plain, os.environ, folder / "code")
    (short_path / "run").mkdir()
    ours = seen_by(
        *launch.command(short_path / "generations", short_path / "run", "default@7-1", os.environ), short_path
    )
    assert "proj.tasks.mail" in wanted["tasks"]
    assert {key: (wanted[key], ours[key]) for key in wanted if wanted[key] != ours[key] and key not in FIXED} == {}
    assert {key: ours[key] for key in FIXED} == {key: repr(value) for key, value in FIXED.items()}
    assert wanted["queues"] != ["celery"]
