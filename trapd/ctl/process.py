"""Run a command as a child, as if it were this process: signals are passed on, and its exit status is ours."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence

from trapd.errors import UsageError

_PASSED_ON = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
}
_KERNEL = 0x80  # SI_KERNEL of siginfo.h: from the terminal, which sends it to the child as well
_IGNORED_BY_PYTHON = [signal.SIGPIPE, signal.SIGXFSZ]


def find_program(name: str) -> str:
    """Return the path of a program. Raises UsageError if there is none."""
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"cannot run {name}: no such program, or it is not executable")
    return path


def run(program: str, arguments: Sequence[str], environ: Mapping[str, str], meanwhile: Callable[[], None]) -> int:
    """Return the exit status of the program, or 128 and the number of the signal that ended it.

    ``meanwhile`` is called once the program runs, and has to return at once; threads that it starts get no signals.
    Raises UsageError if the program cannot be run.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have ignored it, and then nobody is told
    watched = _PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        try:
            child = os.posix_spawn(program, list(arguments), environ, setsigmask=before, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            raise UsageError(f"cannot run {program}: {error.strerror}") from None
        meanwhile()
        while True:
            received = signal.sigwaitinfo(watched)
            if received.si_signo == signal.SIGCHLD:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
            elif received.si_code != _KERNEL:
                os.kill(child, received.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
