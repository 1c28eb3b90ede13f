"""What of numba's cache only `make test-long` tries: ten workers of a real trapd at once, and a newer numba."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import environments, lens
from tests.support.daemon import Daemon, Status, settled_on
from tests.support.lens import HITS, REFUSED, Site
from tests.support.repetitions import times
from tests.support.sample import CELERY
from trapd.layout import State

WORKERS = 10
FAILURES = {"failed", "crashed", "lost", "killed", "hung"}
KEPT = "numba's machine code for lens is kept in "
PATIENCE = 600.0  # s: each of them compiles for itself


@pytest.mark.long
@pytest.mark.timeout(times(900, 3000))
def test_ten_workers_start_at_once_on_an_empty_cache_and_all_are_ready(
    pytestconfig: pytest.Config,
    request: pytest.FixtureRequest,
    short_path: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    assert pytestconfig.cache is not None
    site = Site(lens.make(pytestconfig.cache.mkdir("environments"), tmp_path), tmp_path)
    count = times(1, 5)
    record_property("times", count)
    for _ in range(count):
        with Daemon(
            short_path, celeryconfig=make_broker("embedded", request).celeryconfig(), tables=tables(site)
        ) as now:
            site.cache, compiling = State(now.state).workers, set[Path]()

            def ten_are_ready(status: Status, site: Site = site, compiling: set[Path] = compiling) -> bool:
                compiling.update(site.cache.glob("numba/.lens-*"))
                return settled_on("1.0", WORKERS, "lens")(status)

            now.wait_until("ten workers", ten_are_ready, PATIENCE)
            logs = [log.read_text() for log in now.state.glob("logs/default*.log")]
            kinds = {event["kind"] for event in now.events()}
        assert len(compiling) > 1, "they compile at once"
        assert sum(KEPT in log for log in logs) == 1, "and one of them keeps it for all"
        assert not kinds & FAILURES
        assert site.start()["hits"] == HITS, "a later import succeeds, and finds what one of them compiled"
        for entry in short_path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def tables(site: Site) -> dict[str, dict[str, object]]:
    return {
        "app": {"app": "optics:app", "python": str(site.python)},
        "watch": {"distributions": ["lens"]},
        "pools.default": {"workers": WORKERS, "concurrency": 1},
        "rollout": {"min_ready": "0s"},
    }


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_newer_numba_than_traps_keeps_the_same(tmp_path: Path) -> None:
    site = Site(environments.make(tmp_path / "venv", "numba==0.68.1", CELERY), tmp_path)
    seen = [site.start() for _ in range(2)]
    assert [(one["version"], one["problem"], one["not_kept"]) for one in seen] == [("0.68.1", "", REFUSED)] * 2
    assert [one["hits"] for one in seen] == [0, HITS]
