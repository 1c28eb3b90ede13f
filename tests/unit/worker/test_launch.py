"""The command line and environment that make a snapshot a worker's code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trapd.worker import launch
from trapd.worker.job import Job

MANIFEST = {
    "schema": 1,
    "number": 7,
    "digest": "d7",
    "versions": {"trap": "1.4.0"},
    "python": "/opt/trap/bin/python",
    "import_path": ["code", "runtime"],
    "celeryconfig": "etc/celeryconfig.py",
    "watched": {"trap": ["trap", "trap_data"]},
    "pools": {
        "default": {"environment": {}},
        "gpu": {"environment": {"OMP_NUM_THREADS": "2", "PYTHONPATH": "/extra", "PYTHONHASHSEED": "0"}},
    },
}


@pytest.fixture
def generations(tmp_path: Path) -> Path:
    folder = tmp_path / "generations"
    start = folder / "7" / launch.START
    start.parent.mkdir(parents=True)
    start.touch()
    (folder / "7/manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def test_the_command_runs_the_snapshots_worker_on_the_applications_interpreter(generations: Path) -> None:
    argv, env = launch.command(generations, Path("/run/trapd"), "default@7-2", {"HOME": "/root"})
    assert argv == [
        *["/opt/trap/bin/python", "-P", f"{generations}/7/runtime/trapd/worker/start.py", "default", "7-2"],
        *["--generation", f"{generations}/7", "--runtime", "/run/trapd"],
    ]
    assert env == {
        "HOME": "/root",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
    }


def test_a_closed_generation_runs_on_its_own_interpreter(generations: Path) -> None:
    own, sites = generations / "7/env/bin/python", {"lib/python3.11/site-packages": "/opt/trap/site-packages"}
    more = {"schema": 2, "environment": {"prefix": "/opt/trap", "sites": sites}}
    (generations / "7/manifest.json").write_text(json.dumps(MANIFEST | more))
    own.parent.mkdir(parents=True)
    own.symlink_to("/usr/bin/python3.11")
    argv, _ = launch.command(generations, Path("/run/trapd"), "default@7-2", {})
    assert argv[:2] == [str(own), "-P"]
    job = Job.parse(argv[3:])
    assert job.code == [generations / "7/code", generations / "7/env/lib/python3.11/site-packages"]
    assert job.installed == [Path("/opt/trap/site-packages")]


def test_in_a_closed_generation_a_project_on_pythonpath_is_its_copy(generations: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "link").symlink_to(site)
    pools = {"default": {"environment": {"PYTHONPATH": f"{tmp_path}/link:/elsewhere:"}}}
    environment = {"schema": 2, "environment": {"prefix": "/opt/trap", "sites": {}}}
    more = {"import_path": ["code", f"tree{site}", "runtime"], "pools": pools}
    for closed in (True, False):
        (generations / "7/manifest.json").write_text(json.dumps(MANIFEST | more | (environment if closed else {})))
        _, env = launch.command(generations, Path("/run/trapd"), "default@7-2", {})
        project = f"{generations}/7/tree{site}" if closed else f"{tmp_path}/link"
        assert env["PYTHONPATH"] == f"{project}:/elsewhere:"


def test_the_worker_reads_back_what_the_command_says(generations: Path) -> None:
    argv, _ = launch.command(generations, Path("/run/trapd"), "gpu@7-2", {})
    job = Job.parse(argv[3:])
    assert (job.pool, job.slot, job.instance, job.number) == ("gpu", "7-2", "gpu@7-2", 7)
    assert job.node.startswith("gpu-7-2@")
    assert job.code == [generations / "7/code"]
    assert job.packages == {"trap", "trap_data"}
    assert job.celeryconfig == generations / "7/etc/celeryconfig.py"
    assert job.report_file == Path("/run/trapd/instances/gpu@7-2.json")


def test_a_pools_environment_comes_last_and_its_import_path_stays_as_it_is(generations: Path) -> None:
    """What a task starts sees it, and not the snapshot's folders: start.py puts these on the worker's own path."""
    base = {"OMP_NUM_THREADS": "9", "PYTHONPATH": "/trapds/own"}
    _, env = launch.command(generations, Path("/run/trapd"), "gpu@7-1", base)
    assert env["OMP_NUM_THREADS"] == "2"
    assert env["PYTHONHASHSEED"] == "0"
    assert env["PYTHONPATH"] == "/extra"


def test_a_generation_that_an_earlier_trapd_has_made_is_started_as_that_did(generations: Path) -> None:
    (generations / "7" / launch.START).unlink()
    argv, env = launch.command(generations, Path("/run/trapd"), "gpu@7-1", {})
    assert argv[:4] == ["/opt/trap/bin/python", "-P", "-m", "trapd.worker"]
    assert env["PYTHONPATH"] == f"{generations}/7/code:{generations}/7/runtime:/extra"


def test_nothing_of_trapds_own_python_reaches_a_worker(generations: Path) -> None:
    base = {
        **dict.fromkeys(["PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "VIRTUAL_ENV_PROMPT", "REMAP_SIGTERM"], "x"),
        "VIRTUAL_ENV": "/opt/trapd",
        "PATH": "/opt/trapd/bin:/usr/bin:/bin",
    }
    _, env = launch.command(generations, Path("/run/trapd"), "default@7-1", base)
    assert set(env) == {"PATH", "PYTHONFAULTHANDLER", "PYTHONUNBUFFERED"}
    assert env["PATH"] == "/usr/bin:/bin"


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ("default@8-1", "there is no generation 8"),
        ("beat@7-1", "generation 7 has no pool 'beat'; its pools: default, gpu"),
        ("default", "cannot read 'default'"),
        ("default@7", "cannot read 'default@7'"),
        ("default@../../etc-1", "cannot read"),
    ],
)
def test_what_does_not_exist_is_refused(generations: Path, instance: str, message: str) -> None:
    with pytest.raises(launch.LaunchError, match=message):
        launch.command(generations, Path("/run/trapd"), instance, {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 3}'])
def test_a_manifest_that_cannot_be_used_is_refused(generations: Path, text: str) -> None:
    (generations / "7/manifest.json").write_text(text)
    with pytest.raises(launch.LaunchError, match=r"manifest\.json"):
        launch.command(generations, Path("/run/trapd"), "default@7-1", {})


@pytest.mark.parametrize("arguments", [[], ["default"], ["default", "7", "--generation", "/g", "--runtime", "/r"]])
def test_a_worker_refuses_another_command_line(arguments: list[str]) -> None:
    with pytest.raises(launch.LaunchError, match="expected POOL GENERATION-SLOT"):
        Job.parse(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["default"], "usage: trapd-worker"),
        (["default", "9-1"], "trapd-worker: cannot start default@9-1: there is no generation 9 in"),
        (["beat", "7-1"], "trapd-worker: cannot start beat@7-1: generation 7 has no pool 'beat'"),
        (["default", "7-1"], "cannot execute /opt/trap/bin/python: No such file or directory"),
    ],
)
def test_the_console_script_exits_with_78_and_says_why(
    generations: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("TRAPD_STATE_DIRECTORY", str(generations.parent))
    with pytest.raises(SystemExit) as exit:
        launch.main(arguments)
    assert exit.value.code == launch.EX_CONFIG == 78
    assert message in capsys.readouterr().err
