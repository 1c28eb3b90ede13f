"""Trap's tasks, imported afresh on a stand-in for Trap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery, signals

from tests.support import fake_main_line

STAND_INS = ("trap", "dask", "astropy")


def drop() -> dict[str, ModuleType]:
    """Take the modules that depend on Trap out of ``sys.modules``, with their package, which holds them too."""
    return {
        name: sys.modules.pop(name)
        for name in [*sys.modules]
        if name.startswith("trapd.distribute") or name.partition(".")[0] in STAND_INS
    }


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """Trap's application, whose tasks nobody has imported yet, where trap 9.8.7 is installed; tasks run eagerly.

    Whoever runs them keeps a ledger at ``ledger`` in tmp_path.
    """
    monkeypatch.syspath_prepend(fake_main_line.write(tmp_path / "site", "9.8.7"))
    monkeypatch.setenv("TRAPD_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "")  # so that it is put back to what it was
    monkeypatch.delenv("NUMBA_THREADING_LAYER")
    connected = {signal: list(signal.receivers or ()) for signal in (signals.task_prerun, signals.task_postrun)}
    before = drop()
    fresh = importlib.import_module("trapd.distribute.app").app
    fresh.conf.update(task_always_eager=True)
    yield fresh
    drop()
    sys.modules.update(before)
    for signal, receivers in connected.items():
        signal.receivers = receivers
        signal.sender_receivers_cache.clear()


@pytest.fixture
def tasks(app: Celery) -> ModuleType:
    """``trapd.distribute.tasks``, registered with ``app``."""
    return importlib.import_module("trapd.distribute.tasks")
