"""What every test gets: the order of the folders, servers on demand, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings
from redis import Redis
from xdist.remote import Producer

from tests.support import brokers, machine, places, processes, sample
from tests.support.lanes import Lanes, usual_seconds
from trapd import history

HERE = Path(__file__).parent
REAL = (
    "process",
    "upgrades",
    "faults",
    "applications",
    "system",
    "nspawn",
)  # folders whose tests start processes that could escape from us
# what fails soonest comes first
FAST = ("unit", "contract", "simulation", "docs")
ORDER = (*FAST, *REAL)
STRICT = os.environ.get("CI", "").lower() in ("1", "true")
MARK = f"TRAPD_TEST_SESSION={os.getpid()}-{uuid.uuid4().hex}"
# s until a test counts as hung. A slow one shares its machine with five others, and may wait for a pip of theirs.
# Where processors are at their slowest (a third of what they are at other hours) a good test took 330 and 75 s.
PATIENCE = 600.0  # fast ones have the timeout of setup.cfg
GRACE = 20.0  # s that a process or thread gets to end by itself after its test

# how long an example takes says more about what else the machine does than about the code
settings.register_profile("trapd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trapd")


def folder(path: Path) -> str:
    """The folder under tests/ that a test belongs to."""
    return path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else ""


def pytest_configure() -> None:
    name, _, value = MARK.partition("=")
    os.environ[name] = value  # children and their children inherit it: so we find those who lost their parent
    # Images of containers often set it. Each trapd, trapctl and worker would then compile trapd anew, which is half of
    # the second that a trapd works until it has said a word; and each process of pytest all tests, 5 s of work.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    tempfile.tempdir = places.short()  # of this process alone: what it starts has the system's
    # A shell that runs us in the background has it ignored, and our children would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(folder(item.path)) if folder(item.path) in ORDER else len(ORDER))
    if hasattr(config, "workerinput"):  # in one of several processes
        items.sort(key=lambda item: -usual_seconds(item.nodeid))
    for item in items:
        if folder(item.path) in ("upgrades", "faults", "applications", "system", "nspawn"):
            item.add_marker(pytest.mark.system)
        given = item.get_closest_marker("timeout")
        patience = PATIENCE if folder(item.path) in REAL else float(config.getini("timeout"))
        if given is None or given.args[0] < patience:
            item.add_marker(pytest.mark.timeout(patience), append=False)


def pytest_collection_finish() -> None:
    # All tests and modules stay until the end: 0.1 s of work for each look of the garbage collector at them, and each
    # test of a worker asks for one.
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=Path, help="file to write into how long the tests took that share lanes")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes | None:
    if config.getoption("dist") != "loadgroup":
        return None
    lanes, path = Lanes(config, log), config.getoption("seconds")
    if path is not None:
        config.add_cleanup(lambda: lanes.write(path))
    return lanes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set nothing may be skipped: a missing broker or missing rights is a failure there."""
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run ``async def test_...`` on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


# --- nothing is left behind -----------------------------------------------------------------------------------------


def offspring(everywhere: bool) -> set[int]:
    """Living processes that the tests started, our servers excepted; ``everywhere``: those without a parent too."""
    if everywhere:
        found = processes.marked(MARK)
    elif _has_children():
        found = {child.pid for child in psutil.Process().children(recursive=True)}
    else:
        return set()
    return {pid for pid in found if not processes.ended(pid) and not _of_a_server(pid)}


def _has_children() -> bool:
    try:
        return any(task.joinpath("children").read_text() for task in Path("/proc/self/task").iterdir())
    except FileNotFoundError:  # a kernel without this file, or a thread that just ended: look thoroughly
        return True


def _of_a_server(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return any(one.pid in brokers.SERVERS | machine.RUNNING for one in (process, *process.parents()))
    return False


def threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.is_alive() and not one.daemon}


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a process or a thread running (and ends the process)."""
    everywhere = folder(request.path) in REAL
    processes_before, threads_before = offspring(everywhere), threads()
    yield
    deadline = time.monotonic() + GRACE
    while (offspring(everywhere) - processes_before or threads() - threads_before) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [processes.end(pid) for pid in offspring(everywhere) - processes_before]
    assert not left, f"left running: {left}"
    assert threads() <= threads_before, f"left running: {threads() - threads_before}"


# --- nothing blocks the loop ----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a fast test in which the package makes a blocking call inside a running event loop."""
    if folder(request.path) not in ("unit", "contract"):
        yield
        return
    with blockbuster_ctx(scanned_modules="trapd") as guard:
        # The contract of History: short transactions, and what was saved is on the disk before anything is done.
        functions = {*vars(history), *vars(history.SqliteHistory)}
        for function in guard.functions.values():
            function.can_block_in("trapd/history.py", functions)
        yield


# --- places and servers ---------------------------------------------------------------------------------------------


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A fresh folder whose path is short enough for sockets in it (108 bytes)."""
    path = Path(tempfile.mkdtemp(prefix="td"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The session's Redis, without a database number."""
    with brokers.redis_server(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The session's RabbitMQ."""
    with brokers.rabbitmq_server(tmp_path_factory.mktemp("rabbitmq")) as (url, _):
        yield url


_databases = itertools.cycle(range(16))


def make_broker(kind: str, request: pytest.FixtureRequest) -> brokers.Broker:
    """A broker of this kind that no other test has sent anything to. Skips where the server is not installed."""
    try:
        match kind:
            case "rabbitmq":
                return brokers.on_rabbitmq(request.getfixturevalue("rabbitmq_url"))
            case "redis":
                url, database = request.getfixturevalue("redis_url"), next(_databases)
                with Redis.from_url(f"{url}/{database}") as client:
                    client.flushdb()
                return brokers.on_redis(url, database)
            case _:
                return brokers.on_files(request.getfixturevalue("tmp_path") / "broker")
    except brokers.MissingServerError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["rabbitmq", "redis", "embedded"])
def broker(request: pytest.FixtureRequest) -> brokers.Broker:
    """Each of the three brokers in turn."""
    return make_broker(request.param, request)


@pytest.fixture(scope="session")
def application(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> sample.Application:
    """The sample application's virtual environment; what is installed in it is whatever the last test left."""
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("environments")
    return sample.make_application(tmp_path_factory.mktemp("application"), kept)
