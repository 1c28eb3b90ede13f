"""What numba compiled for one start serves the next one: on real numba, with two small distributions."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import lens
from tests.support.lens import GLASS, HITS, REFUSED, Site, ended
from tests.support.repetitions import times
from tests.unit.ctl.test_findings import SETTINGS
from trapd.ctl import check
from trapd.ctl.findings import Facts
from trapd.ctl.rules_numba import numba_cache

AT_ONCE = 10


@pytest.fixture(scope="module")
def python(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert pytestconfig.cache is not None
    return lens.make(pytestconfig.cache.mkdir("environments"), tmp_path_factory.mktemp("numba"))


@pytest.fixture
def site(python: Path, tmp_path: Path) -> Site:
    return Site(python, tmp_path)


def test_a_second_start_compiles_nothing_until_called_code_changes(site: Site) -> None:
    first = site.start()
    assert (first["result"], first["hits"], first["not_kept"], first["problem"]) == (10.0, 0, REFUSED, "")
    before = site.folders
    second = site.start()
    assert (second["result"], second["hits"], second["not_kept"]) == (10.0, HITS, REFUSED)
    assert first["refused"] == second["refused"] == [5.0, 1.0]
    assert "numba compiles lens.tilt at each start: it uses dynamic globals" in second["output"]

    site.install("other", "2.0", {"other.py": "NEW = 1"})
    assert site.start()["hits"] == HITS, "whatever numba does not compile does not count"
    assert site.folders == before

    installed = next(site.python.parents[1].glob("lib/python3*/site-packages/glass.py"))
    installed.write_text(GLASS.replace("3.0", "4.0"))  # a file that is called; numba itself does not notice
    edited = site.start()
    assert (edited["result"], edited["hits"]) == (12.0, 0)
    assert len(site.folders - before) == 2


def test_another_path_and_another_time_of_the_same_code_find_it_compiled(site: Site, tmp_path: Path) -> None:
    first = site.start()
    assert first["hits"] == 0
    before = site.folders
    site.move(tmp_path / "generation")
    moved = site.start()
    assert Path(moved["file"]).is_relative_to(tmp_path / "generation")
    assert not Path(first["file"]).is_relative_to(tmp_path / "generation")
    assert (moved["result"], moved["hits"], site.folders) == (10.0, HITS, before)


def test_another_processor_python_or_setting_of_numba_has_folders_of_its_own(site: Site) -> None:
    assert site.start()["hits"] == 0
    others = {
        "processor": {"FIRST": "import llvmlite.binding as llvm; llvm.get_host_cpu_name = lambda: 'x86-64'"},
        "Python": {"FIRST": "sys.version = sys.version.replace(')', ' again)', 1)"},
        "setting": {"NUMBA_OPT": "1"},
    }
    for what, environ in others.items():
        before = site.folders
        other = site.start(**environ)
        assert (other["hits"], other["not_kept"], len(site.folders - before)) == (0, REFUSED, 2), what
    assert site.start()["hits"] == HITS


def test_check_names_what_is_compiled_at_each_start(site: Site) -> None:
    celeryconfig = site.folder / "celeryconfig.py"
    celeryconfig.write_text("broker_url = 'memory://'")
    application = replace(
        SETTINGS.application, app="optics:app", python=str(site.python), celeryconfig=str(celeryconfig), smoke_test=None
    )
    settings = replace(SETTINGS, application=application)
    report = check.inspect(settings, os.environ)
    assert "failed" not in report, report
    assert report["numba"] == {"version": "0.61.2", "problem": "", "kept": 4, "not_kept": REFUSED}
    said = {finding.what: finding.reason for finding in numba_cache(Facts(settings, report, {}))}
    for name, reason in REFUSED.items():
        assert said[f"numba compiles {name} at each start"] == f"it cannot be kept: {reason}"
    assert not site.cache.exists(), "the workers' cache is theirs alone"


def test_a_start_whose_smoke_test_fails_publishes_nothing(site: Site) -> None:
    assert site.start("abandon")["result"] == 10.0
    assert site.folders == set()
    assert site.start()["hits"] == 0
    assert len(site.folders) == 2


def test_a_cache_that_cannot_be_used_is_thrown_away_and_told(site: Site) -> None:
    site.start()
    for file in (site.cache / "numba").rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[:50])
    hurt = site.start()
    assert hurt["result"] == 10.0
    assert "was unusable and is thrown away" in hurt["output"]
    assert site.start()["hits"] == 0
    assert site.start()["hits"] == HITS

    for index in (site.cache / "numba").glob("lens-*/*.nbi"):  # a process that is ended while it reads
        index.unlink()
        subprocess.run(["mkfifo", str(index)], check=True)
    killed = site.begin()
    deadline = time.monotonic() + 60
    while not [entry for entry in site.folders if entry.startswith(".reading-lens")]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    told = site.start()
    assert told["result"] == 10.0
    assert "a process was ended while it read it" in told["output"]
    assert site.start()["hits"] == HITS


@pytest.mark.long
@pytest.mark.timeout(times(600, 3000))
def test_ten_that_start_at_once_on_an_empty_cache_all_start_and_so_does_the_next(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    count = times(1, 5)
    record_property("times", count)
    for _ in range(count):
        shutil.rmtree(site.cache, ignore_errors=True)
        results = [ended(process)["result"] for process in [site.begin() for _ in range(AT_ONCE)]]
        assert results == [10.0] * AT_ONCE
        assert site.start()["hits"] == HITS
        assert len(site.folders) == 2, "nothing is left of those who came second"


def test_nobody_else_may_write_what_a_worker_runs(site: Site) -> None:
    site.cache.mkdir()
    (site.cache / "numba").mkdir(mode=0o777)
    (site.cache / "numba").chmod(0o777)
    refused = site.start()
    assert refused["result"] == 10.0
    assert "others may write to it" in refused["problem"]
    assert site.folders == set()
