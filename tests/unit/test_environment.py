"""Who adds which variable: one file says so, and the workers' unit says the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from trapd import environment

ROOT = Path(__file__).parents[2]
OURS = {environment.STATE, environment.RUNTIME, environment.SHARED, environment.PARENT}
# A Python environment of trapd's own, and a shell that wants cold shutdowns.
BASE = {
    "PATH": "/opt/trapd/bin:/usr/bin",
    "VIRTUAL_ENV": "/opt/trapd",
    "PYTHONHOME": "/opt/trapd",
    "REMAP_SIGTERM": "SIGQUIT",
    "HTTP_PROXY": "http://proxy",
}


def test_whoever_asks_the_application_sees_what_a_worker_sees() -> None:
    pool = {**environment.directories(Path("/s"), Path("/r")), "OMP_NUM_THREADS": "1", "PYTHONPATH": "/lib"}
    worker, question = environment.of_worker(BASE, pool), environment.of_question(BASE, pool)
    assert question == {**environment.inherited(BASE), **pool, "PYTHONDONTWRITEBYTECODE": "1"}
    assert {name for name in {**worker, **question} if worker.get(name) != question.get(name)} == {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONFAULTHANDLER",
        "PYTHONUNBUFFERED",
    }
    assert worker["PATH"] == "/usr/bin"
    assert worker["HTTP_PROXY"] == "http://proxy"
    assert not {"VIRTUAL_ENV", "PYTHONHOME", "REMAP_SIGTERM"} & {*worker, *question}


def test_a_snapshots_folders_come_before_the_pools_own() -> None:
    asked = environment.of_question({}, {"PYTHONPATH": "/lib"}, [Path("/g/7/code")])
    assert asked["PYTHONPATH"] == "/g/7/code:/lib"


def test_a_child_has_our_socket_and_nothing_that_systemd_told_trapd() -> None:
    told = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_FDS": "1"}
    child = environment.of_child({**told, "A": "b"}, Path("/run/trapd/notify.sock"), 60.0)
    assert child.pop(environment.PARENT)
    assert child == {"A": "b", "NOTIFY_SOCKET": "/run/trapd/notify.sock", "WATCHDOG_USEC": "60000000"}


def test_the_workers_unit_sets_the_same_names() -> None:
    unit = (ROOT / "systemd/trapd-worker@.service.in").read_text()
    lines = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    names = {name for line in lines for name in re.findall(r"\b([A-Z_]+)=", line) if name.startswith("TRAPD_")}
    assert names == OURS - {environment.PARENT}, "under systemd, PID 1 is the parent"


def test_no_other_file_of_trapds_names_them() -> None:
    for path in sorted((ROOT / "trapd").rglob("*.py")):
        if path != ROOT / "trapd/environment.py":
            strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            assert not strings & OURS, path
