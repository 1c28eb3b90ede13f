"""A private PostgreSQL server of Debian's package, as user postgres, in a folder of its own and on a free port."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.brokers import MissingServerError, free_port, spawn

USER, PASSWORD = "postgres", "not-secret"
_AS_USER = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--"]


def programs() -> Path:
    """Return the folder of the newest version's programs. Raises MissingServerError."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        raise MissingServerError("PostgreSQL is not installed: apt-get install postgresql")
    return folders[-1]


@contextmanager
def server(directory: Path) -> Iterator[int]:
    """Start one; yields its port on 127.0.0.1. ``directory`` is made, readable for everybody above it."""
    directory.mkdir()
    shutil.chown(directory, USER, USER)
    word = directory / "password"
    word.write_text(PASSWORD)
    word.chmod(0o644)
    data, port = directory / "data", free_port()
    command = [
        str(programs() / "initdb"),
        "-D",
        str(data),
        "-U",
        USER,
        "--pwfile",
        str(word),
        "--auth",
        "scram-sha-256",
    ]
    subprocess.run([*_AS_USER, *command, "--no-sync"], check=True, capture_output=True, cwd=directory)
    settings = ["-c", "fsync=off", "-c", f"unix_socket_directories={directory}", "-c", "listen_addresses=127.0.0.1"]
    command = [str(programs() / "postgres"), "-D", str(data), "-p", str(port), *settings]
    running = spawn("PostgreSQL", [*_AS_USER, *command], directory / "log")
    try:
        running.wait_until(lambda: _ready(port))
        yield port
    finally:
        running.stop()


def _ready(port: int) -> bool:
    return not subprocess.run([programs() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode


def query(port: int, database: str, statement: str) -> str:
    """Return the rows as psql prints them, without padding."""
    where = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}"
    done = subprocess.run(
        [programs() / "psql", "-X", "-A", "-t", where, "-c", statement], check=True, capture_output=True, text=True
    )
    return done.stdout
