"""The configuration: one ``trapd.toml``, which is read and checked as a whole, or refused.

Relative paths in it are relative to its folder; durations are seconds once read.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trapd import environment, layout
from trapd.settings import beat, worker_options
from trapd.settings.document import Document, read, trust
from trapd.settings.keys import KEYS, meant
from trapd.spec import POOL_NAME, Application, Metrics, Notify, Policy, PoolSpec

_LONGEST_NAME = 100  # characters of a pool's name; a unit's name, with two long numbers, may have 255 (systemd.unit(5))
_TABLES = ("trapd", "app", "watch", "rollout", "metrics", "notify", "pools")
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path (unix(7)), its closing NUL not counted


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The watched distributions, and after which times (seconds) an upgrade is finished or broken."""

    distributions: tuple[str, ...]
    quiet_period: float
    ceiling: float
    snapshot: str = "auto"  # or "environment", "distributions"
    look: float | None = None  # None: only where nobody reports changes, after a time of trapd's own


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that passed every check."""

    file: Path
    backend: str
    state_directory: Path
    runtime_directory: Path
    application: Application
    watch: WatchSettings
    pools: tuple[PoolSpec, ...]
    watchdog: float = 60.0
    worker_logs: str = "auto"
    metrics: Metrics = field(default_factory=Metrics)
    notify: Notify = field(default_factory=Notify)


def find(option: str | None, environ: Mapping[str, str]) -> Path:
    """Return the file to use: ``--config``, else TRAPD_CONFIG, else the default. Absolute; it need not exist."""
    return Path(option or environ.get("TRAPD_CONFIG") or layout.CONFIGURATION).absolute()


def load(path: Path) -> Settings:
    """Read and check one file. Raises SettingsError with file, key, line if known, and remedy."""
    document = read(path.absolute())
    for name in document.tables:
        if name not in _TABLES:
            _unknown(document, "", name, list(_TABLES))
    trapd, watch, rollout = (_section(document, name, name) for name in ("trapd", "watch", "rollout"))
    defaults = _policy(document, "rollout", rollout)
    pools = _with_cache(document, _pools(document, defaults))
    settings = Settings(
        file=document.file,
        application=_application(document, trapd, pools[0]),
        watch=WatchSettings(**watch),
        pools=pools,
        metrics=Metrics(**_section(document, "metrics", "metrics")),
        notify=Notify(**_section(document, "notify", "notify")),
        **trapd,
    )
    _check(document, settings)
    return settings


def resolve_backend(settings: Settings, booted: Path = layout.SYSTEMD_BOOTED) -> str:
    """``"systemd"`` or ``"embedded"``: what "auto" means on this machine."""
    if settings.backend != "auto":
        return settings.backend
    return "systemd" if booted.is_dir() else "embedded"


def _table(document: Document, path: str) -> dict[str, Any]:
    """The TOML table of that dotted path, as written; empty if it is not."""
    here: Any = document.tables
    for part in path.split("."):
        here = here.get(part, {})
    if not isinstance(here, dict):
        document.refuse(path, f"cannot use {_shown(here)} here", f"write a table: [{path}]")
    return here


def _section(document: Document, path: str, kind: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every key of one table, read, with defaults where it says nothing; ``more`` names its sub-tables."""
    keys, written = KEYS[kind], _table(document, path)
    values = {name: key.default for name, key in keys.items()}
    for name, value in written.items():
        if name in more:
            continue
        if name not in keys:
            _unknown(document, path, name, [*keys, *more])
        try:
            values[name] = keys[name].kind.read(value, document.file.parent)
        except ValueError as error:
            detail = f" ({error})" if str(error) else ""
            remedy = f"write {keys[name].kind.expected}"
            document.refuse(f"{path}.{name}", f"cannot use {_shown(value)} here{detail}", remedy)
    return values


def _application(document: Document, trapd: Mapping[str, Any], pool: PoolSpec) -> Application:
    """``pool``: the first one, whose environment is that of questions to the application which mean no pool."""
    folders = environment.directories(trapd["state_directory"], trapd["runtime_directory"])
    return Application(
        **_section(document, "app", "app"),
        environment={**folders, **pool.environment},
        environment_file=pool.environment_file,
    )


def _with_cache(document: Document, pools: tuple[PoolSpec, ...]) -> tuple[PoolSpec, ...]:
    """The workers learn of [app] numba_cache by a variable, and a change of it starts them anew."""
    wanted = _section(document, "app", "app")["numba_cache"]
    if wanted == "auto":
        return pools
    return tuple(replace(pool, environment={**pool.environment, environment.NUMBA_CACHE: wanted}) for pool in pools)


def _unknown(document: Document, path: str, name: str, known: list[str]) -> None:
    option = worker_options.find(name) if path.startswith("pools.") and path.count(".") == 1 else None
    at_home = next((table for table, keys in KEYS.items() if name in keys), None)
    if at_home == "rollout" and path.startswith("pools."):
        remedy = f"write it in [{path}.rollout]"
    elif option:
        document.refuse(
            f"{path}.{name}",
            f"cannot use this: no such setting, though `celery` has {option.names}",
            f"its place: {option.place.replace('`', '')}",
        )
    elif at_home:
        remedy = f"write it in [{at_home}]"
    elif question := meant(name, known):
        remedy = question
    else:
        remedy = f"remove it; {f'[{path}]' if path else 'a configuration'} has: {', '.join(known)}"
    document.refuse(f"{path}.{name}".lstrip("."), "cannot use this: no such setting", remedy)


def _policy(document: Document, path: str, values: dict[str, Any]) -> Policy:
    policy = Policy(**values)
    if policy.max_surge.value == policy.max_unavailable.value == 0:
        key = "max_surge" if "max_surge" in _table(document, path) else "max_unavailable"
        message = "cannot recycle with max_surge and max_unavailable both 0: no worker could ever be replaced"
        document.refuse(f"{path}.{key}", message, "set one of them to 1 or more")
    if policy.max_unavailable.percent and policy.max_unavailable.value > 100:
        document.refuse(f"{path}.max_unavailable", f"cannot use {policy.max_unavailable}", "write 100% at most")
    if policy.min_ready >= policy.progress_deadline:
        key = "min_ready" if "min_ready" in _table(document, path) else "progress_deadline"
        message = (
            f"cannot wait {policy.min_ready:g} s for a new worker to prove itself when a rollout fails after "
            f"{policy.progress_deadline:g} s without progress"
        )
        document.refuse(f"{path}.{key}", message, "make min_ready shorter than progress_deadline")
    return policy


def _pools(document: Document, defaults: Policy) -> tuple[PoolSpec, ...]:
    specs: list[PoolSpec] = []
    for name in _table(document, "pools") or ("default",):
        path = f"pools.{name}"
        if not POOL_NAME.fullmatch(name):
            remedy = "begin with a letter and use a-z, 0-9 and _ only"
            document.refuse(path, f"cannot call a pool {name!r}: the name becomes part of unit names", remedy)
        if len(name) > _LONGEST_NAME:
            message = f"cannot use a name of {len(name)} characters: unit names have room for {_LONGEST_NAME}"
            document.refuse(path, message, "use a shorter name")
        values = _section(document, path, "pools.NAME", ("rollout", "systemd"))
        if values["run"] == "beat":
            beat.settle(document, path, _table(document, path), values)
        if values["singleton"] and values["workers"] > 1:
            message = f"cannot run {values['workers']} workers of a singleton"
            document.refuse(f"{path}.workers", message, "set workers to 1, or remove singleton")
        _limits(document, path, values)
        own = _section(document, f"{path}.rollout", "rollout")
        merged = {
            key: own[key] if key in _table(document, f"{path}.rollout") else getattr(defaults, key) for key in own
        }
        unit = _unit_settings(document, f"{path}.systemd", _table(document, f"{path}.systemd"))
        specs.append(PoolSpec(name=name, unit=unit, policy=_policy(document, f"{path}.rollout", merged), **values))
    beat.at_most_one(document, specs)
    return tuple(specs)


def _limits(document: Document, path: str, values: dict[str, Any]) -> None:
    soft, hard = values["soft_time_limit"], values["time_limit"]
    if soft is not None and hard is not None and soft >= hard:
        message = f"cannot interrupt a task after {soft:g} s that is killed after {hard:g} s"
        document.refuse(f"{path}.soft_time_limit", message, "make soft_time_limit shorter than time_limit")


def _unit_settings(document: Document, path: str, table: dict[str, Any]) -> dict[str, Any]:
    for name, value in table.items():
        if not isinstance(value, str | int | bool) or "\n" in str(value):
            document.refuse(
                f"{path}.{name}", f"cannot use {_shown(value)} here", "write one line, a number, true or false"
            )
    return table


def _check(document: Document, settings: Settings) -> None:
    watch = settings.watch
    with contextlib.suppress(OSError):  # the watch reports a missing file
        celeryconfig = Path(settings.application.celeryconfig)
        trust(celeryconfig, celeryconfig.stat())
    for file in {Path(pool.environment_file) for pool in settings.pools if pool.environment_file}:
        with contextlib.suppress(OSError):  # `check` and the start of workers report it
            trust(file, file.stat())
    if watch.ceiling <= watch.quiet_period:
        key = "ceiling" if "ceiling" in _table(document, "watch") else "quiet_period"
        message = f"cannot wait {watch.quiet_period:g} s for quiet within {watch.ceiling:g} s"
        document.refuse(f"watch.{key}", message, "make the ceiling longer than the quiet_period")
    runtime = layout.Runtime(settings.runtime_directory)
    for socket in (runtime.control, runtime.notify):
        length = len(str(socket).encode())
        if length > _LONGEST_SOCKET:
            message = f"cannot put {socket.name} there: its path has {length} bytes, sockets allow {_LONGEST_SOCKET}"
            document.refuse("trapd.runtime_directory", message, "use a shorter path")


def _shown(value: object) -> str:
    """Return a value for a message; tables and lists only by their kind, since they may contain secrets."""
    match value:
        case dict():
            return "a table"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value if len(value) <= 60 else f"{value[:57]}...", ensure_ascii=False)
        case _:
            return str(value)
