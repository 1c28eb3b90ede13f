"""What a snapshot says of itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.builders import application
from trapd.errors import SnapshotError
from trapd.generations import manifest
from trapd.model import Generation
from trapd.spec import PoolSpec

GENERATION = Generation(7, "f1", {"trap": "1.4.0"}, {"default": "d"}, "trap 1.3.0 -> 1.4.0", "watch", 1_700_000_000.5)


def describe() -> manifest.Manifest:
    return manifest.describe(
        GENERATION,
        [PoolSpec("default", queues=("a", "b"), environment={"OMP_NUM_THREADS": "1"})],
        application("trapd.distribute.app:app", python="/opt/trap/bin/python", smoke_test="trap.check:smoke"),
        watched={"trap": ["trap"]},
    )


def test_what_is_written_is_what_workers_and_people_rely_on(tmp_path: Path) -> None:
    manifest.write(describe(), tmp_path, group=os.getegid())
    assert json.loads((tmp_path / "manifest.json").read_text()) == {
        "schema": 1,
        "number": 7,
        "fingerprint": "f1",
        "digest": "f1",
        "versions": {"trap": "1.4.0"},
        "reason": "trap 1.3.0 -> 1.4.0",
        "wall": 1_700_000_000.5,
        "app": "trapd.distribute.app:app",
        "python": "/opt/trap/bin/python",
        "smoke_test": "trap.check:smoke",
        "import_path": ["code", "runtime"],
        "celeryconfig": "etc/celeryconfig.py",
        "watched": {"trap": ["trap"]},
        "pools": {
            "default": {
                "concurrency": None,
                "queues": ["a", "b"],
                "celery_pool": None,
                "max_tasks_per_child": None,
                "environment": {"OMP_NUM_THREADS": "1"},
                "on_missing_tasks": "warn",
            }
        },
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest.write(describe(), tmp_path, group=os.getegid())
    assert manifest.read(tmp_path) == describe()


def test_an_unknown_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": 3}')
    with pytest.raises(SnapshotError, match=r"manifest\.json: it has schema 3, and this trapd knows 2 and below"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"schema": 1}', '"schema"'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    why = "no such file or directory; if its code" if text is None else ""
    with pytest.raises(SnapshotError, match=rf"cannot read .*manifest\.json: {why}"):
        manifest.read(tmp_path)
