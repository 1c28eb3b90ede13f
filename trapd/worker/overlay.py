"""The system-wide celeryconfig on top of the application's own settings: its keys win, nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from celery import Celery
from celery.app.defaults import _OLD_SETTING_KEYS, _TO_NEW_KEY
from celery.app.utils import detect_settings


class Overlay:
    """What one celeryconfig says, under Celery's new names, to be put on an application.

    ``replaced`` has what the application itself had said under these names, where that was something else.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises ImproperlyConfigured for a mixture of old and new names, as plain Celery does."""
        written = {
            name: value for name, value in config.items() if name[0] != "_" and not isinstance(value, ModuleType)
        }
        detect_settings(written)
        self.old_names = written.keys() & _OLD_SETTING_KEYS
        renamed = {_TO_NEW_KEY[name]: written[name] for name in self.old_names}
        # where both spellings of one name are there, Celery reads the new one
        self.settings = renamed | {name: value for name, value in written.items() if name not in self.old_names}
        self.replaced: dict[str, Any] = {}

    def put_on(self, app: Celery) -> None:
        """Now, and again whenever the application reads its settings anew (config_from_object in a handler)."""
        app.on_after_configure.connect(lambda **_: self.renew(app), weak=False)
        app.conf.finalize()
        self.renew(app)

    def renew(self, app: Celery) -> None:
        """Also where the application has assigned something else since; what it has derived from that is forgotten."""
        conf = app.conf
        before = {name: conf.get(name) for name in self.settings}
        changed = {name for name, value in self.settings.items() if not _same(before[name], value)}
        self.replaced |= {name: before[name] for name in changed if conf.value_set_for(name)}
        for name in self.settings:
            for spelling in conf._to_keys(name):  # with the application's prefix, say, which would be found first
                conf.changes.pop(spelling, None)
        conf.update(self.settings)
        if "override_backends" in self.settings:
            app.loader.override_backends = self.settings["override_backends"]
        if self.old_names:  # Celery warns of them when a worker starts
            conf.deprecated_settings = {*(conf.get("deprecated_settings") or ()), *self.old_names}
        if changed:
            _forget(app, changed)
            _rebind(app, before, changed)


def _same(one: Any, other: Any) -> bool:
    with suppress(Exception):  # values may be of any kind; who cannot be compared is not the same
        return one is other or bool(type(one) is type(other) and one == other)
    return False


def _forget(app: Celery, changed: Iterable[str]) -> None:
    """What the application object keeps of settings that it has read before, as a connection pool made by an import."""
    names = tuple(changed)

    def any_of(*beginnings: str) -> bool:
        return any(name.startswith(beginnings) for name in names)

    kept = vars(app)
    if any_of("broker_"):
        app._pool = None
        if "amqp" in kept:
            app.amqp._producer_pool = None
    if any_of("task_queue", "task_default_", "task_create_missing_", "task_protocol", "enable_utc"):
        kept.pop("amqp", None)
    if any_of("control_", "accept_content", "task_serializer"):
        kept.pop("control", None)
    if any_of("task_annotations"):
        kept.pop("annotations", None)
    if any_of("timezone", "enable_utc"):
        kept.pop("timezone", None)
    app._backend_cache = None
    with suppress(AttributeError):
        del app._local.backend


def _rebind(app: Celery, before: Mapping[str, Any], changed: Iterable[str]) -> None:
    """Tasks that an import has made already have copied settings into themselves.

    What such a task was given itself cannot be told from a copy, where it is the same as the application's setting.
    """
    names = frozenset(changed)
    for task in app._tasks.values():
        for attribute, name in task.from_config:
            if name in names and _same(getattr(task, attribute, None), before[name]):
                setattr(type(task), attribute, app.conf[name])
