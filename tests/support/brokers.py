"""Private brokers for the tests: redis-server and RabbitMQ on free loopback ports, and kombu's filesystem transport.

The servers are children of the test session: they see no configuration and no data of the machine's own servers, and
the kernel ends them if the session is killed. Start-up on two cores: redis 0.1 s, RabbitMQ 4 to 8 s, so each is started
once a session, and only if a test asks for it. Tests are kept apart by ``Broker.queue`` and, on Redis, by the database.
"""

from __future__ import annotations

import contextlib
import os
import pprint
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection

EMBEDDED = Path(__file__).parents[2] / "etc/celeryconfig-embedded.py"
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # not the wrapper in PATH: that one insists on user rabbitmq
START_TIMEOUT = 90.0  # s; a loaded machine may need ten times the usual
SERVERS: set[int] = set()  # process ids of what `spawn` started: they outlive a test, by intention


class MissingServerError(Exception):
    """A server that the tests need is not installed; the message says which package brings it."""


@dataclass(frozen=True)
class Broker:
    """One place to send tasks to."""

    kind: str  # rabbitmq, redis or embedded
    config: str  # the text of a celeryconfig.py
    queue: str  # Celery's default queue in it: no other test has sent anything there

    def celeryconfig(self, **more: object) -> str:
        """The text of a celeryconfig.py for this broker, with these settings on top (new lower-case names)."""
        return self.config + "".join(f"{name} = {pprint.pformat(value)}\n" for name, value in more.items())

    def through(self, port: int) -> Broker:
        """The same broker by way of another port on 127.0.0.1."""
        return replace(self, config=re.sub(r"(?<=127\.0\.0\.1:)[0-9]+", str(port), self.config))

    @property
    def port(self) -> int:
        """Where its server listens."""
        found = re.search(r"127\.0\.0\.1:([0-9]+)", self.config)
        assert found, f"{self.kind} has no server"
        return int(found[1])

    def settings(self) -> dict[str, Any]:
        """What the celeryconfig says. It is executed, as Celery would."""
        names: dict[str, Any] = {"__file__": str(EMBEDDED)}
        exec(compile(self.config, f"celeryconfig of {self.kind}", "exec"), names)
        plain = (str, int, float, list, dict)  # not what the file imports or defines for itself
        return {name: value for name, value in names.items() if name[0] != "_" and isinstance(value, plain)}

    def app(self) -> Celery:
        """A Celery application for a submitter in this process: it knows the broker, and no task."""
        app = Celery("submitter", set_as_current=False)
        app.conf.update(self.settings())
        return app


@dataclass
class Server:
    """A server process and its words, until ``stop``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started_in: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)  # where its own tools find it, if it has any
    before: list[Server] = field(default_factory=list)  # stopped after this one

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Poll ``ready`` until it is true. Raises RuntimeError with the server's own words if that never comes."""
        began = time.monotonic()
        while not ready():
            if self.process.poll() is not None or time.monotonic() - began > START_TIMEOUT:
                words = self.log.read_text(errors="replace")[-4000:]
                self.stop()
                raise RuntimeError(f"cannot start {self.name} (exit status {self.process.returncode}):\n{words}")
            time.sleep(0.05)
        self.started_in = time.monotonic() - began

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        SERVERS.discard(self.process.pid)
        for server in self.before:
            server.stop()


def spawn(name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> Server:
    """Start a server that the kernel ends with us."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=log.parent,
        )
    SERVERS.add(process.pid)
    return Server(name, process, log, env=env or {})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    try:
        with Connection(url, connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except (OSError, *Connection(url).connection_errors):
        return False
    return True


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[tuple[str, Server]]:
    """A redis-server without persistence; yields its URL, without a database."""
    program = shutil.which("redis-server")
    if program is None:
        raise MissingServerError("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    server = spawn("redis", command, directory / "redis.log")
    try:
        url = f"redis://127.0.0.1:{port}"
        server.wait_until(lambda: listens(port) and answers(url))
        yield url, server
    finally:
        server.stop()


@contextlib.contextmanager
def rabbitmq_server(directory: Path, advanced: str = "") -> Iterator[tuple[str, Server]]:
    """A RabbitMQ with a cookie, a node name, an epmd and folders of its own; yields its URL. ``advanced``: settings of
    the application ``rabbit``, as Erlang terms.
    """
    if not RABBITMQ.exists():
        raise MissingServerError("RabbitMQ is not installed: apt-get install rabbitmq-server")
    port, dist, epmd_port = free_port(), free_port(), free_port()
    cookie = directory / ".erlang.cookie"
    cookie.write_text(uuid.uuid4().hex)
    cookie.chmod(0o400)
    env = _rabbitmq_environment(directory, port, dist, epmd_port)
    if advanced:
        (directory / "advanced.config").write_text(f"[{{rabbit, [{advanced}]}}].")
        env["RABBITMQ_ADVANCED_CONFIG_FILE"] = str(directory / "advanced.config")
    # Without one of ours, Erlang would start an epmd that nobody stops.
    epmd = spawn("epmd", ["epmd", "-address", "127.0.0.1", "-port", str(epmd_port)], directory / "epmd.log")
    try:
        epmd.wait_until(lambda: listens(epmd_port))
        server = spawn("rabbitmq", [str(RABBITMQ)], directory / "rabbitmq.log", env)
        server.before.append(epmd)
        try:
            url = f"amqp://guest:guest@127.0.0.1:{port}//"
            server.wait_until(lambda: listens(port) and answers(url))
            yield url, server
        finally:
            server.stop()
    finally:
        epmd.stop()


def rabbitmqctl(server: Server, *arguments: str) -> None:
    """Ask this RabbitMQ to do something."""
    command = [str(RABBITMQ.with_name("rabbitmqctl")), "--quiet", *arguments]
    subprocess.run(command, env=server.env, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def change_password(server: Server, user: str, password: str) -> None:
    """Of a user of this RabbitMQ. Connections that are open stay open, as RabbitMQ has it."""
    rabbitmqctl(server, "change_password", user, password)


def _rabbitmq_environment(directory: Path, port: int, dist: int, epmd_port: int) -> dict[str, str]:
    absent = str(directory / "absent")
    (directory / "enabled_plugins").write_text("[].\n")
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"trapd-test-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_CONF_ENV_FILE": absent,
        "RABBITMQ_CONFIG_FILE": absent,
        "RABBITMQ_ADVANCED_CONFIG_FILE": absent,
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "rabbitmq.pid"),
        "RABBITMQ_LOGS": "-",
        # The start script then becomes the server instead of watching over it: the signal we send reaches the server.
        "RUNNING_UNDER_SYSTEMD": "1",
    }


def _queue() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def _config(queue: str, **settings: object) -> str:
    common = {
        "task_default_queue": queue,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "broker_connection_retry_on_startup": True,
    }
    return "".join(f"{name} = {value!r}\n" for name, value in {**settings, **common}.items())


def on_rabbitmq(url: str) -> Broker:
    queue = _queue()
    return Broker("rabbitmq", _config(queue, broker_url=url, result_backend="rpc://"), queue)


def on_redis(url: str, database: int) -> Broker:
    queue, at = _queue(), f"{url}/{database}"
    return Broker("redis", _config(queue, broker_url=at, result_backend=at), queue)


def on_files(directory: Path) -> Broker:
    """The embedded broker, by the very file that is shipped for it, with its files in ``directory``."""
    queue = _queue()
    place = f"import os\nos.environ['TRAPD_STATE_DIRECTORY'] = {str(directory)!r}\n"
    return Broker("embedded", f"{place}{EMBEDDED.read_text()}\ntask_default_queue = {queue!r}\n", queue)
