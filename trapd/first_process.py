"""The duties of process 1, which trapd is in a container without ``--init``: pass signals on, and reap processes.

Every process whose parent has ended becomes a child of process 1, and stays a zombie until process 1 waits for it:
tasks that leave a helper behind filled the process table. trapd waits for its own children, one by one, in several
places; a wait for any child beside that would take their exit statuses away. So trapd itself goes on in a child:
docs/adr/0014-process-1-is-not-trapd.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_PASSED_ON = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})


def in_container(booted: Path) -> bool:
    """Whether this process is the container's only program: process 1, or a child of an init such as that of
    `docker run --init`. Call this before ``go_on_in_a_child``. ``booted``: a folder that exists if systemd is process
    1."""
    return os.getpid() == 1 or (os.getppid() == 1 and not booted.is_dir())


def go_on_in_a_child() -> int | None:
    """Fork, if this is process 1. Return None in the process that becomes trapd: the child, or this process if it is
    not process 1. In process 1 return when the child has ended: its exit status, or 128 plus the number of the signal
    that ended it.

    Call this before there is another thread.
    """
    if os.getpid() != 1:
        return None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        number = signal.sigwait(_PASSED_ON | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
        elif (status := _reap(child)) is not None:
            return status


def _reap(child: int) -> int | None:
    """Reap every process that has ended; return the child's exit status if the child is among them. One SIGCHLD may
    stand for many processes."""
    ended: int | None = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                ended = code if code >= 0 else 128 - code
    return ended
