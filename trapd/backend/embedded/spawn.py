"""Processes that are started in a session of their own, identified by a pidfd, and killed as a group.

A pidfd names one process for ever, so neither a signal nor a wait can reach another process that got the same number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from trapd import process_stat

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Process:
    """A worker's main process, which leads a process group of the same number."""

    pid: int
    pidfd: int
    ours: bool = True  # a child of this trapd; False if an earlier trapd started it

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone; nothing happens if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def kill_group(self) -> None:
        """Send SIGKILL to it and to every process that it started, except those that have left its group."""
        self.send(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> int | None:
        """Return, after its end, the exit status, or minus the signal's number; None if it is no child of this trapd.
        Kill its group, too.

        The group is killed before the wait for the child: until then no other process can get the number.
        """
        self.kill_group()
        if not self.ours:
            return None
        end = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        assert end is not None  # without WNOHANG
        return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status

    def ended(self) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        os.close(self.pidfd)


def spawn(argv: list[str], env: Mapping[str, str], output: int) -> Process:
    """Start it. Raises OSError if it cannot be executed.

    To be called in the thread that lives as long as trapd does, the loop's: the kernel's PR_SET_PDEATHSIG, by which
    workers learn of our death, follows the thread that started them, not the process. It takes about 1 ms.
    """
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    # A child inherits ignored signals (nohup, a shell's background jobs, Python's own SIGPIPE): reset them.
    pid = os.posix_spawn(argv[0], argv, env, file_actions=files, setsid=True, setsigmask=[], setsigdef=_SIGNALS)
    try:
        return Process(pid, os.pidfd_open(pid))
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def adopt(pid: int, started: int) -> Process | None:
    """Return a process that an earlier trapd started, if the number still is that process's."""
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if start_time(pid) != started:
        os.close(pidfd)
        return None
    return Process(pid, pidfd, ours=False)


def start_time(pid: int) -> int | None:
    """Return when the kernel started a process, in clock ticks since boot; None if it is gone. Number and time together
    identify a process."""
    try:
        fields = process_stat.fields(pid)
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[process_stat.STARTED])
