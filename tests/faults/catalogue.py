"""Faults on purpose: each is done at some moment of a life, and undone."""

from __future__ import annotations

import resource
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

import psutil

from tests.faults.life import WATCHDOG, Life, stopped
from tests.support.brokers import rabbitmqctl
from trapd.layout import Runtime

Do = Callable[[Life], None]


@dataclass(frozen=True)
class Fault:
    """``brokers``: on which it can be done."""

    name: str
    do: Do
    brokers: tuple[str, ...] = ("rabbitmq", "redis")


# -- processes: whom, what, when ---------------------------------------------------------------------------------------


def kill_trapd(life: Life, *_: str) -> None:
    """Its workers finish what they run and leave, and the next trapd starts others."""
    life.daemon.kill()
    life.restart_trapd()


def stop_trapd(life: Life, *_: str) -> None:
    """Longer than its watchdog: whoever looks late judges nobody."""
    stopped(life.daemon_pid(), WATCHDOG + 1)


def kill_main(life: Life, *states: str) -> None:
    life.kill(life.worker(*states))


def stop_main(life: Life, *states: str) -> None:
    """Longer than the watchdog: trapd ends it and starts another."""
    pid = life.worker(*states)
    life.work.excuse(pid)
    stopped(pid, WATCHDOG + 3)


def kill_child(life: Life, *states: str) -> None:
    life.kill(life.child(*states))


def stop_child(life: Life, *states: str) -> None:
    """A task takes longer, that is all."""
    stopped(life.child(*states), WATCHDOG)


PROCESSES = {
    "SIGKILL of trapd": kill_trapd,
    "SIGSTOP of trapd": stop_trapd,
    "SIGKILL of a main process": kill_main,
    "SIGSTOP of a main process": stop_main,
    "SIGKILL of a child": kill_child,
    "SIGSTOP of a child": stop_child,
}


# Redis hands a message out and forgets it; kombu notes it a moment later. What is on its way to a main process that is
# ended just then, or while it stands still, is lost: with plain Celery as well.
BROKERS: dict[Do, tuple[str, ...]] = {kill_main: ("rabbitmq",), stop_main: ("rabbitmq",)}


def at(moment: str, act: Callable[..., None]) -> Do:
    def do(life: Life) -> None:
        act(life, *Life.MOMENTS[moment](life))

    return do


# -- brokers -----------------------------------------------------------------------------------------------------------


def broker_pauses(life: Life) -> None:
    """It neither answers nor refuses."""
    stopped(life.server.process.pid, life.chance.uniform(2, 2 * WATCHDOG))


def broker_restarts(life: Life) -> None:
    with life.work.cutting():
        rabbitmqctl(life.server, "stop_app")
    time.sleep(life.chance.uniform(0, 3))
    rabbitmqctl(life.server, "start_app")


def connections_are_cut(life: Life) -> None:
    with life.work.cutting():
        rabbitmqctl(life.server, "close_all_connections", "an operator closes them")


def memory_alarm(life: Life) -> None:
    """RabbitMQ takes nothing more from anybody who sends."""
    rabbitmqctl(life.server, "set_vm_memory_high_watermark", "0")
    time.sleep(2 * WATCHDOG)
    rabbitmqctl(life.server, "set_vm_memory_high_watermark", "0.6")


# -- trapd's own places ------------------------------------------------------------------------------------------------


def garbage(life: Life) -> None:
    """Random bytes on each of its sockets, and many who connect and say nothing."""
    runtime = Runtime(life.daemon.runtime)
    silent = []
    for _ in range(40):
        caller = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            caller.connect(str(runtime.control))
        silent.append(caller)
    for path in sorted(life.daemon.runtime.glob("*.sock")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with closing(socket.socket(socket.AF_UNIX, kind)) as caller, suppress(OSError):
                caller.settimeout(1)
                caller.connect(str(path))
                for _ in range(64):
                    caller.send(life.chance.randbytes(4096))
    for caller in silent:
        caller.close()


def no_descriptors(life: Life) -> None:
    """trapd has all that it may have, in the middle of an upgrade."""
    pid = life.daemon_pid()
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds(), before[1]))
    life.upgrade()
    time.sleep(WATCHDOG)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def history_is_locked(life: Life) -> None:
    """By another process that writes, while a worker loses a child."""
    with closing(sqlite3.connect(life.daemon.state / "history.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        kill_child(life, "ready")
        time.sleep(WATCHDOG)
        other.execute("ROLLBACK")


def runtime_is_wiped(life: Life) -> None:
    """Somebody has emptied /run: trapd listens again."""
    for path in life.daemon.runtime.iterdir():
        if path.is_file() or path.is_socket():
            path.unlink()


OTHERS = [
    Fault("the broker pauses", broker_pauses),
    Fault("the broker restarts", broker_restarts, ("rabbitmq",)),
    Fault("connections are cut", connections_are_cut, ("rabbitmq",)),
    Fault("memory alarm", memory_alarm, ("rabbitmq",)),
    Fault("garbage on the sockets", garbage),
    Fault("no descriptors are left", no_descriptors),
    Fault("the history is locked", history_is_locked),
    Fault("the runtime directory is wiped", runtime_is_wiped),
]

FAULTS = [
    *(
        Fault(f"{name} {moment}", at(moment, act), BROKERS.get(act, ("rabbitmq", "redis")))
        for name, act in PROCESSES.items()
        for moment in Life.MOMENTS
    ),
    *OTHERS,
]
KINDS = (*PROCESSES, *(fault.name for fault in OTHERS))  # whatever the moment is
