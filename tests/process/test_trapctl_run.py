"""`trapctl run` beside a real trapd: on the workers' generation, with the service's settings, held by a pin.

In the place of Trap is one that only says what it was started with; tests/unit/distribute runs the main line.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_broker
from tests.support.daemon import BIN, Daemon, Status, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting
from tests.support.wheels import write_wheel

# Says what it finds, and ends with status 23 at the end of its input.
CLI = """
import json, os, sys
from pathlib import Path


def parse_arguments():
    return {"version": True, "pyse_version": None, "input_images": None, "arguments": sys.argv[1:]}


def run_batch(params):
    from trapd.distribute.app import app
    from trapd.distribute.provenance import digest

    digest = digest(Path(sys.modules["__main__"].__file__))
    found = {"trap": __file__, "arguments": params["arguments"], "queue": app.conf.task_default_queue, "digest": digest}
    print(json.dumps(found), flush=True)
    sys.stdin.read()
    sys.exit(23)
"""
FILES = {"trap/__init__.py": "", "trap/cli.py": CLI, "trap/run.py": ""}
FILES |= {"trap/source_extraction.py": "read_pyse_image = sources_from_fits_pyse = force_fit = None"}
PATIENCE = 300.0  # s
TRAP = ("-i", "a b.fits", "--on-error", "-x")


def install(application: Application, version: str) -> None:
    application.install(write_wheel(application.wheels, "trap", version, FILES))


@pytest.fixture
def daemon(request: pytest.FixtureRequest, application: Application, short_path: Path) -> Iterator[Daemon]:
    """trapd with one worker, ready on trap 1.3.0."""
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    install(application, "1.3.0")
    own: dict[str, dict[str, Any]] = {"app": {"python": str(application.python)}, "rollout": {"min_ready": "0s"}}
    tables = {**setting.tables(application), **own, "watch": {"distributions": ["trap"]}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as running:
        running.wait_until("workers on 1.3.0", settled_on("1.3.0", 1, "trap"), PATIENCE)
        yield running


def waits(status: Status) -> bool:
    return "the end of the pin of" in pool(status)["waiting"]


@pytest.mark.timeout(900)
def test_the_main_line_runs_on_the_code_of_the_workers_and_an_upgrade_waits_for_it(
    application: Application, daemon: Daemon
) -> None:
    words = [str(BIN / "trapctl"), "--config", str(daemon.config), "run", "--in-flight", "2", "--", *TRAP]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as running:  # type: ignore[call-overload]
        try:
            said = running.stdout.readline()
            assert said, running.communicate(timeout=30)[1]
            found = json.loads(said)
            [generation] = [one for one in daemon.state.glob("generations/*") if one.name.isdecimal()]
            assert Path(found["trap"]).is_relative_to(generation)
            manifest = json.loads((generation / "manifest.json").read_bytes())
            assert found["digest"] == manifest["digest"], "answers of workers have the same"
            assert found["arguments"] == [*TRAP]
            assert found["queue"] != "celery", "the service's settings name another"
            install(application, "1.4.0")
            status = daemon.wait_until("the upgrade to wait", waits, PATIENCE)
            [pin] = pool(status)["pins"]
            assert pin["reason"].startswith("trapctl run -- -i a b.fits")
            told = running.communicate(timeout=30)[1]
        finally:
            running.kill()
    assert running.returncode == 23, told
    assert "pool default: generation 1 is pinned until" in told
    daemon.wait_until("workers on 1.4.0", settled_on("1.4.0", 1, "trap"), PATIENCE)

    # no run begins where a rollout waits for a person
    assert daemon.ctl("rollout", "pause", "default").returncode == 0
    install(application, "1.5.0")
    daemon.wait_until("the rollout", lambda now: pool(now)["rollout"]["ended"] is None, PATIENCE)
    answer = daemon.ctl("run", "--", *TRAP)
    assert (answer.returncode, answer.stdout) == (75, ""), answer.stderr
    assert "a person has to resume it; trapctl rollout resume default lets it go on" in answer.stderr
    assert daemon.ctl("rollout", "resume", "default").returncode == 0
    daemon.wait_until("workers on 1.5.0", settled_on("1.5.0", 1, "trap"), PATIENCE)
