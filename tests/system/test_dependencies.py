"""Acceptance: a library is upgraded, rebuilt or added beside an application, by real pip under real workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support import environments, site_packages
from tests.support.brokers import Broker
from tests.support.daemon import Daemon, Status, pool, settled_on
from tests.support.sample import NAME, Application, good
from tests.support.upgrade import Setting
from tests.support.wheels import write_wheel

TIE = """
@app.task(name="shipyard.tie")
def tie(library, out):
    try:
        told = __import__(library).CONTENT
    except ImportError:
        told = "missing"
    with open(out + "~", "w") as file:
        file.write(told)
    os.rename(out + "~", out)
"""
pytestmark = pytest.mark.timeout(240)


def install(application: Application, name: str, version: str, content: str = "") -> None:
    wheel = write_wheel(application.wheels, name, version, {f"{name}/__init__.py": f"CONTENT = {content!r}\n"})
    environments.pip(application.python, "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))


@pytest.fixture
def daemon(request: pytest.FixtureRequest, application: Application, short_path: Path) -> Iterator[Daemon]:
    """trapd with one worker of an application that requires keel, and imports rope without saying so."""
    files = good("1.0")
    files["shipyard/__init__.py"] += "import rope\n"
    ship = write_wheel(application.wheels, NAME, "1.0", files, requires=["keel"])
    install(application, "keel", "1.0")
    install(application, "rope", "1.0")
    application.install(ship)
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=1)
    tables = setting.tables(application) | {"rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as running:
        running.wait_until("workers on 1.0", settled_on("1.0", 1))
        yield running


def on_generation(number: int) -> Callable[[Status], bool]:
    def true(status: Status) -> bool:
        return pool(status)["generation"] == number and settled_on("1.0", 1)(status)

    return true


def test_a_change_of_what_the_workers_run_recycles_them_once_and_is_named(
    application: Application, daemon: Daemon
) -> None:
    assert "rope" in pool(daemon.status())["instances"][0]["loaded"]
    install(application, "keel", "1.0", "rebuilt")
    daemon.wait_until("generation 2", on_generation(2))
    install(application, "ipython", "9.0")
    daemon.wait_until("no effect", lambda status: "no-effect" in daemon.ctl("events").stdout)
    daemon.stop()
    daemon.start()  # what the workers had loaded is remembered
    daemon.wait_until("generation 2 again", on_generation(2))
    install(application, "rope", "1.1")
    daemon.wait_until("generation 3", on_generation(3))

    listed = daemon.ctl("generations").stdout
    assert "keel 1.0, other content" in listed
    assert "rope 1.0 -> 1.1" in listed
    assert "ipython absent -> 9.0: not required by what is watched" in daemon.ctl("events").stdout
    assert "rope 1.0 -> 1.1" in daemon.ctl("why", "default").stdout
    told = daemon.ctl("why", "generation", "3").stdout
    assert "rope 1.0 -> 1.1" in told
    assert "ipython absent -> 9.0" in told
    different = daemon.ctl("generations", "diff", "1", "3").stdout.splitlines()
    assert {"ipython absent -> 9.0", "keel 1.0, other content", "rope 1.0 -> 1.1"} <= set(different)


def serves(number: int) -> Callable[[Status], bool]:
    """A source tree has no version to ask for."""

    def true(status: Status) -> bool:
        found = pool(status)
        instances = [(one["state"], one["code"]) for one in found["instances"]]
        return found["generation"] == number and instances == [("ready", "current")] and found["rollout"]["ended"]

    return true


def test_without_metadata_what_is_loaded_is_all_there_is(
    request: pytest.FixtureRequest, application: Application, short_path: Path
) -> None:
    """A project that is a source tree only, with no line of what it requires."""
    site_packages.uninstall(application.site_packages(), NAME)  # of another test: installed code goes before PYTHONPATH
    project = short_path / "project"
    files = good("1.0")
    files["shipyard/__init__.py"] += "import rope\n"
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    for library in ("rope", "kelp"):
        install(application, library, "1.0")
    setting = Setting(make_broker("embedded", request), acks_late=False, workers=1, concurrency=1)
    tables = setting.tables(application) | {"rollout": {"min_ready": "0s"}}
    tables["pools.default"] = {**tables["pools.default"], "environment": {"PYTHONPATH": str(project)}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("a worker of the tree", serves(1))
        status = daemon.wait_until("its word of what it loaded", lambda now: pool(now)["instances"][0]["loaded"])
        loaded = pool(status)["instances"][0]["loaded"]
        assert ("rope" in loaded, "kelp" in loaded) == (True, False)

        install(application, "kelp", "1.1")
        told = "kelp 1.0 -> 1.1: not required by what is watched"
        daemon.wait_until("no effect", lambda status: told in daemon.ctl("events").stdout)
        assert pool(daemon.status())["generation"] == 1

        install(application, "rope", "1.1")
        daemon.wait_until("the same tree with the new library", serves(2))
        assert "rope 1.0 -> 1.1" in daemon.ctl("why", "default").stdout
        assert "rope 1.0 -> 1.1" in daemon.ctl("generations").stdout


def tied(broker: Broker, folder: Path, library: str) -> str:
    """What a task gets that imports this library."""
    out = folder / "told"
    out.unlink(missing_ok=True)
    with broker.app() as app:
        app.send_task("shipyard.tie", (library, str(out)), ignore_result=True)
        deadline = time.monotonic() + 30
        while not out.exists():
            assert time.monotonic() < deadline, "no word of the task"
            time.sleep(0.1)
    return out.read_text()


def test_what_a_task_imports_is_of_the_copy_and_counts_or_comes_with_a_recycle(
    request: pytest.FixtureRequest, application: Application, short_path: Path
) -> None:
    """Of libraries that nothing requires, and of a module without metadata."""
    knot = application.site_packages() / "knot.py"
    knot.write_text("CONTENT = 'old'\n")
    files = good("1.0")
    files["shipyard/jobs.py"] += TIE
    install(application, "twine", "1.0", "old")
    site_packages.uninstall(application.site_packages(), "splice")
    application.install(write_wheel(application.wheels, NAME, "1.0", files))
    broker = make_broker("redis", request)
    setting = Setting(broker, acks_late=False, workers=1, concurrency=1)
    tables = setting.tables(application) | {"rollout": {"min_ready": "0s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("a worker", on_generation(1))
        install(application, "twine", "1.1", "new")
        told = "twine 1.0 -> 1.1: not required by what is watched, and loaded by no worker"
        daemon.wait_until("no effect", lambda status: told in daemon.ctl("events").stdout)
        assert tied(broker, short_path, "twine") == "old"
        daemon.wait_until("a worker with another twine", on_generation(2))
        assert "twine 1.0 -> 1.1" in daemon.ctl("generations").stdout
        assert tied(broker, short_path, "twine") == "new"

        assert tied(broker, short_path, "knot") == "old"
        knot.write_text("CONTENT = 'a new one'\n")
        install(application, "splice", "1.0", "there")
        told = "splice absent -> 1.0: not required by what is watched, and loaded by no worker; workers have it after"
        daemon.wait_until("no effect", lambda status: told in daemon.ctl("events").stdout)
        assert tied(broker, short_path, "splice") == "missing"
        assert daemon.ctl("recycle", "default", "--wait").returncode == 0
        assert tied(broker, short_path, "splice") == "there"
        assert tied(broker, short_path, "knot") == "a new one"
        assert pool(daemon.status())["generation"] == 3
    knot.unlink()
