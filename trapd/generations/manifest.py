"""What a snapshot says of itself. Written last: a snapshot without a manifest is none.

trapd writes it, the worker and people read it: so it is JSON, and who meets a schema he does not know refuses it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trapd.content import Environment
from trapd.errors import SnapshotError
from trapd.generations.copying import close_to_others
from trapd.model import Generation
from trapd.rollout import celeryconfig
from trapd.spec import Application, PoolSpec

NAME = "manifest.json"
SCHEMA, WITHOUT_ENVIRONMENT = 2, 1
CODE, RUNTIME, CELERYCONFIG = "code", "runtime", celeryconfig.FILE


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a worker of this generation needs to know to start."""

    number: int
    fingerprint: str
    versions: Mapping[str, str]
    reason: str
    wall: float
    app: str  # "module:attribute"
    python: str  # the application's interpreter
    smoke_test: str | None  # "module:function"
    watched: Mapping[str, Sequence[str]]  # distribution -> names it is imported by
    pools: Mapping[str, Mapping[str, object]]  # pool -> PoolSpec.launch()
    import_path: Sequence[str] = (CODE, RUNTIME)  # folders of the snapshot, first to last
    environment: Mapping[str, Any] | None = None  # model.Environment of which ``env`` is a copy; None: there is none
    left_out: Sequence[str] = ()  # installed files and folders that trapd could not read


def describe(
    generation: Generation,
    pools: Sequence[PoolSpec],
    application: Application,
    *,
    watched: Mapping[str, Sequence[str]],
    import_path: Sequence[str] = (CODE, RUNTIME),
    environment: Environment | None = None,
    left_out: Sequence[str] = (),
) -> Manifest:
    """The manifest of a new snapshot."""
    return Manifest(
        number=generation.number,
        fingerprint=generation.fingerprint,
        versions=dict(generation.versions),
        reason=generation.reason,
        wall=generation.wall,
        app=application.app,
        python=application.python,
        smoke_test=application.smoke_test,
        watched=watched,
        pools=_launches(pools),
        import_path=tuple(import_path),
        environment=_described(environment) if environment else None,
        left_out=tuple(left_out),
    )


def _described(environment: Environment) -> Mapping[str, Any]:
    """What a worker needs to know of it."""
    about: dict[str, Any] = {"prefix": environment.prefix, "sites": dict(environment.sites)}
    return about | {"site": environment.site, "parts": sorted(environment.parts.values())}


def describe_copy(generation: Generation, pools: Sequence[PoolSpec], source: Manifest) -> Manifest:
    """The manifest of a copy: it starts what its source starts, under the pools' present settings."""
    return replace(
        source,
        number=generation.number,
        fingerprint=generation.fingerprint,
        reason=generation.reason,
        wall=generation.wall,
        pools=_launches(pools),
    )


def _launches(pools: Sequence[PoolSpec]) -> dict[str, Mapping[str, object]]:
    """With ``on_missing_tasks``, for worker/admission.py: a change of it alone does not reach workers that run."""
    return {p.name: {**p.launch(), "on_missing_tasks": p.policy.on_missing_tasks.value} for p in pools}


def write(manifest: Manifest, folder: Path, *, group: int) -> None:
    """Write it, read-only, and return when it is on the disk. Raises OSError.

    Only ``group`` may read it: a pool's environment may hold passwords.
    """
    content = asdict(manifest) | {"digest": manifest.fingerprint, "celeryconfig": CELERYCONFIG}
    for key in ("environment", "left_out"):
        if not content[key]:
            del content[key]
    text = json.dumps({"schema": SCHEMA if manifest.environment else WITHOUT_ENVIRONMENT, **content}, indent=1)
    with (folder / NAME).open("x", encoding="utf-8") as file:
        close_to_others(file.fileno(), group)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """Read a snapshot's manifest. Raises SnapshotError if there is none that this trapd understands."""
    path = folder / NAME
    try:
        found: Any = json.loads(path.read_text("utf-8"))
        schema = found["schema"]
        if schema in (SCHEMA, WITHOUT_ENVIRONMENT):
            found = {"environment": None, "left_out": (), **found}
            found |= {key: tuple(found[key]) for key in ("import_path", "left_out")}
            return Manifest(**{key: found[key] for key in Manifest.__slots__})
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
        remedy = "if its code is installed, trapctl retry makes it anew"
        raise SnapshotError(f"cannot read {path}: {why}; {remedy}") from error
    raise SnapshotError(f"cannot read {path}: it has schema {schema!r}, and this trapd knows {SCHEMA} and below")
