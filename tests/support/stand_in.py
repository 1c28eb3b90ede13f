"""Stands in for trapd and for its workers on a test machine: real state, real snapshots, nothing else. A program.

``stand_in.py daemon`` is started by trapd.service in the daemon's place: it makes generation 7, keeps a history, tells
who calls at its socket who they are, and answers watchdog and SIGTERM. Any other arguments are those of an
application's interpreter: it then is a worker, which writes into its report what becomes of the expressions in PROBES.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = "/usr/local/lib/stand_in.py"
PROBES = Path("/etc/probes.json")  # name -> Python expression
PYTHON = Path("/etc/python")  # the application's interpreter, if it is to be a real one
DRAIN = Path("/etc/drain")  # seconds that a worker takes to leave; it asks for them in time
SOCKET = Path("/run/trapd/who.sock")
STATE = Path("/var/lib/trapd")
GENERATION = 7


def say(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def until_told() -> None:
    """Until SIGTERM, with a sign of life each second."""
    told = [signal.SIGTERM, signal.SIGHUP]
    say("READY=1\nSTATUS=ready, 0 active")
    while (found := signal.sigtimedwait(told, 1.0)) is None or found.si_signo != signal.SIGTERM:
        say("WATCHDOG=1")
    say("STOPPING=1")


def drain(seconds: float) -> None:
    """Less than nothing: it hangs."""
    while seconds < 0:
        time.sleep(1.0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        say("EXTEND_TIMEOUT_USEC=10000000\nSTATUS=draining, 1 active")
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))


def attempt(expression: str) -> Any:
    try:
        found = eval(expression, {"os": os, "Path": Path, "socket": socket, "__import__": __import__})
    except Exception as error:
        return type(error).__name__
    return found if isinstance(found, bool | int | str | list) else "done"


def worker(pool: str, slot: str, runtime: Path) -> None:
    probes = json.loads(PROBES.read_text()) if PROBES.exists() else {}
    report = {name: attempt(expression) for name, expression in probes.items()}
    (runtime / "instances" / f"{pool}@{slot}.json").write_text(json.dumps(report))
    until_told()
    drain(float(DRAIN.read_text()) if DRAIN.exists() else 0.0)


async def make_generation(python: Path) -> None:
    from trapd.generations.snapshot import SnapshotStore
    from trapd.model import Disk, DiskState, Generation, TreeFile
    from trapd.spec import Application, PoolSpec

    store = SnapshotStore(STATE / "generations")
    if GENERATION in store.present():
        return
    config = "/etc/trapd/celeryconfig.py"
    files = (TreeFile("code/sample.py", "/usr/local/lib/sample.py", ""), TreeFile("etc/celeryconfig.py", config, ""))
    disk = Disk(DiskState.SETTLED, fingerprint="f", versions={}, files=files)
    generation = Generation(GENERATION, "f", {}, {}, "test", "test", 0.0)
    application = Application("sample:app", config, str(python))
    await store.make(generation, disk, [PoolSpec("default"), PoolSpec("gpu")], application)


def tell_callers() -> None:
    from trapd.control.rights import Rights
    from trapd.peer import peer_of

    rights = Rights(os.getuid())
    with socket.socket(socket.AF_UNIX) as door:
        SOCKET.unlink(missing_ok=True)
        door.bind(str(SOCKET))
        SOCKET.chmod(0o666)
        door.listen()
        while True:
            with door.accept()[0] as connection:
                connection.sendall(repr(rights.caller(peer_of(connection))).encode())


def daemon() -> None:
    from trapd.history import SqliteHistory

    asyncio.run(make_generation(Path(PYTHON.read_text() if PYTHON.exists() else HERE)))
    history = SqliteHistory(STATE / "history.sqlite")
    threading.Thread(target=tell_callers, daemon=True).start()
    until_told()
    history.close()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP])  # in every thread
    match sys.argv[1:]:
        case ["daemon"]:
            daemon()
        case ["-P", _, pool, slot, "--generation", _, "--runtime", runtime]:
            worker(pool, slot, Path(runtime))
        case other:
            sys.exit(f"cannot stand in for {other}")
