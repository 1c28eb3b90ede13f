"""How a run can end, as exit statuses of ``trapd.distribute.run``, and the exceptions that lead there."""

from __future__ import annotations

DONE = 0
FAILED = 1  # Trap itself, or trapd, raised an error
USAGE = 2
PARTIAL = 23  # the database is there, but images were rejected because of an error: as rsync's partial transfer
SYSTEMIC = 24  # every image fails alike, so the images are not the reason
OTHER_CODE = 25  # answers of more than one version of the code
TRY_AGAIN = 75  # broker or workers do not answer, or another run is at work: EX_TEMPFAIL of sysexits.h
HUNG_UP = 129  # the terminal was closed: 128 + SIGHUP
INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM


class RunError(Exception):
    """The run cannot go on; the message says why, and what to do."""

    status = FAILED


class ImageError(RunError):
    """An image failed, and the run is to stop at the first one."""


class SystemicError(RunError):
    """Every image fails alike."""

    status = SYSTEMIC


class OtherCodeError(RunError):
    """An answer is of other code than the answers before it."""

    status = OTHER_CODE


class UnreachableError(RunError):
    """The broker or the workers do not answer."""

    status = TRY_AGAIN


class OccupiedError(RunError):
    """Another run uses the same answers or the same database."""

    status = TRY_AGAIN
