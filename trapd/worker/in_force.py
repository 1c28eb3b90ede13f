"""Which settings are in force, and who said so: for `trapctl check`."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from celery import Celery
from celery.app.defaults import _OLD_SETTING_KEYS, SETTING_KEYS
from celery.app.utils import HIDDEN_SETTINGS

from trapd.masking import mask
from trapd.worker.overlay import Overlay

APPLICATION, CELERYCONFIG, ENVIRONMENT = "application", "celeryconfig", "environment"
# Variables that Celery itself lets go before every setting.
_VARIABLES = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}
_BEGINNINGS = ("broker_", "celery_", "celerybeat_", "celeryd_", "result_", "task_", "worker_")
_ALIKE = 0.85  # of difflib: imprts and imports are, import_dir and imports are not
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100  # characters
_short.maxlevel, _short.maxdict, _short.maxlist, _short.maxtuple = 3, 6, 8, 8


def in_force(app: Celery, overlay: Overlay) -> list[dict[str, Any]]:
    """Each setting that somebody has said: its name, value, who (see above), and what of the application's it replaced.

    Values as people read them, passwords left out.
    """
    found = []
    for name in sorted(SETTING_KEYS):
        if os.environ.get(_VARIABLES.get(name, "")):
            said_by, value = ENVIRONMENT, os.environ[_VARIABLES[name]]
        elif app.conf.value_set_for(name):
            said_by, value = CELERYCONFIG if name in overlay.settings else APPLICATION, app.conf.get(name)
        else:
            continue
        instead = shown(name, overlay.replaced[name]) if name in overlay.replaced else None
        found.append({"name": name, "value": shown(name, value), "by": said_by, "instead_of": instead})
    return found


def shown(name: str, value: Any) -> str:
    """The value as people read it, without what is secret: by its name, as Celery decides it, or within a URL."""
    return _short.repr(_open(name, value))


def _open(name: str, value: Any) -> Any:
    if HIDDEN_SETTINGS.search(name):
        return "***"
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: _open(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_open("", inner) for inner in value]
    return value


def unknown(written: Mapping[str, Any]) -> dict[str, str | None]:
    """Names in celeryconfig that Celery ignores without a word, and that look like settings -> what may be meant."""

    def odd(name: str) -> bool:
        value = written[name]
        return name[0] != "_" and not (callable(value) or isinstance(value, ModuleType))

    names = {name: _meant(name) for name in written if odd(name) and not _known(name)}
    return {name: meant for name, meant in names.items() if meant or name.lower().startswith(_BEGINNINGS)}


def unknown_own(app: Celery, overlay: Overlay) -> dict[str, str]:
    """Likewise among the application's own settings; only typos of known ones, for it may have settings of its own."""
    prefix = f"{app.namespace.rstrip('_')}_" if app.namespace else ""
    recase: Callable[[str], str] = str.upper if prefix.isupper() else str
    assigned = [name for name in app.conf.changes if name not in overlay.settings]
    names = [*(name for name in app.loader.conf or () if name.startswith(prefix)), *assigned]
    found = {}
    for name in names:
        if name[0] == "_" or name == "deprecated_settings" or _known(name):
            continue
        begins = prefix if prefix and name.startswith(prefix) else ""
        bare = name.removeprefix(begins).lower() if begins else name
        if not _known(bare) and (meant := _meant(bare)):
            found[name] = recase(begins + meant) if begins else meant
    return found


def _known(name: str) -> bool:
    return name in SETTING_KEYS or name in _OLD_SETTING_KEYS


def _meant(name: str) -> str | None:
    names = _OLD_SETTING_KEYS if name.isupper() else SETTING_KEYS
    return next(iter(difflib.get_close_matches(name, names, 1, _ALIKE)), None)
