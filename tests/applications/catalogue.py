"""The applications, each with what its users tell `celery worker`, and what they tell trapd instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECTS = Path(__file__).parent / "projects"


@dataclass(frozen=True)
class Application:
    """One folder of ``projects``, how it is installed, how it is run, and what it is asked.

    ``path``: the folders in it that are on PYTHONPATH. ``wheels``, ``editables``: distributions that are installed,
    name -> folder. ``version``: the file that an upgrade changes. ``options`` of `celery worker` and the keys of
    ``pool`` in trapd.toml say the same. ``calls``: task, arguments, options of sending; one after the other.
    """

    name: str
    app: str
    broker: str
    watch: tuple[str, ...]
    version: str
    work: str
    calls: Sequence[tuple[str, tuple[Any, ...], Mapping[str, Any]]]
    path: tuple[str, ...] = ()
    wheels: Mapping[str, str] = field(default_factory=dict)
    editables: tuple[str, ...] = ()
    beat: str = ""  # a query of db.sqlite3: how often what beat sends has run
    before: tuple[tuple[str, ...], ...] = ()  # commands for the application's interpreter, in its folder
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("-c", "2")
    pool: Mapping[str, object] = field(default_factory=lambda: {"concurrency": 2})


def call(task: str, *arguments: Any, **options: Any) -> tuple[str, tuple[Any, ...], Mapping[str, Any]]:
    return task, arguments, options


DJANGO = Application(
    name="django_shop",
    app="shop",
    broker="redis",
    watch=("shop",),
    version="shop/__init__.py",
    work="orders.tasks.work",
    calls=(
        call("orders.tasks.place", "ada"),
        call("orders.tasks.place", "ada"),
        call("orders.tasks.receipt", "ada"),
    ),
    path=(".",),
    beat="SELECT count(*) FROM orders_count",
    before=(("manage.py", "migrate", "--verbosity", "0"),),
)
FLASK = Application(
    name="flask_notes",
    app="make_celery",
    broker="redis",
    watch=("notes", "make_celery"),
    version="notes/__init__.py",
    work="notes.tasks.work",
    calls=(call("notes.tasks.render", "remember"), call("notes.tasks.words", "one two one")),
    path=(".",),
    environment={"C_FORCE_ROOT": "1"},  # it accepts pickles, which Celery refuses to root otherwise
)
DICT = Application(
    name="dict_dispatch",
    app="dispatch.jobs",
    broker="rabbitmq",
    watch=("dispatch",),
    version="dispatch/__init__.py",
    work="dispatch.jobs.work",
    calls=(
        call("dispatch.jobs.alarm"),
        call("dispatch.jobs.report"),
        call("dispatch.jobs.letter"),
        call("dispatch.jobs.ordinary"),
        call("dispatch.jobs.ordinary", priority=7),
    ),
    wheels={"dispatch": "."},
    options=(),
    pool={},
)
UV = Application(
    name="uv_fleet",
    app="fleet_jobs",
    broker="redis",
    watch=("fleet-jobs", "fleet-core"),
    version="packages/fleet-core/src/fleet_core/__init__.py",
    work="fleet_jobs.voyages.work",
    calls=(call("fleet_jobs.voyages.length", [1, 5, 2]),),
    editables=("packages/fleet-core", "packages/fleet-jobs"),
)
NAMESPACE = Application(
    name="namespace_airlift",
    app="airlift.executors.celery_executor.app",
    broker="redis",
    watch=("airlift",),
    version="core/airlift/__init__.py",
    work="airlift.executors.celery_executor.work",
    calls=(call("airlift.executors.celery_executor.execute", "post.send", "the moon"),),
    wheels={"airlift": "core"},
    path=("providers",),
    options=(),
    pool={},
)
GEVENT = Application(
    name="gevent_crawl",
    app="crawl",
    broker="redis",
    watch=("crawl",),
    version="crawl.py",
    work="crawl.work",
    calls=(call("crawl.patched"),),
    path=(".",),
    options=("-P", "gevent", "-c", "10"),
    pool={"celery_pool": "gevent", "concurrency": 10},
)
QUORUM = Application(
    name="quorum_harbour",
    app="harbour",
    broker="rabbitmq",
    watch=("harbour",),
    version="harbour.py",
    work="harbour.work",
    calls=(
        call("harbour.moor", "Zeehaen"),
        call("harbour.moor", "Heemskerck", countdown=2),
    ),
    path=(".",),
)
APPLICATIONS = (DJANGO, FLASK, DICT, UV, NAMESPACE, GEVENT, QUORUM)
