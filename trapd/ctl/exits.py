"""trapctl's exit statuses: those of `systemctl status` and sysexits.h, as far as these have one."""

from __future__ import annotations

from enum import IntEnum

from trapd.control.protocol import Code
from trapd.ctl.client import AnswerError, UnreachableError
from trapd.errors import NotPermittedError, SettingsError, TrapdError, UsageError


class Exit(IntEnum):
    OK = 0
    FAILED = 1  # the action failed; `status`: degraded, held or failed; `plan`: something would be done
    USAGE = 2
    NOT_RUNNING = 3  # `status` only
    NOT_PERMITTED = 4
    UNKNOWN = 4  # `status` only: trapd does not answer, or there is no such pool
    STOPPED = 7  # trapd does not run; as systemctl's status for a unit that does not run
    UNREACHABLE = 69  # EX_UNAVAILABLE, as `celery status`: trapd may run, and does not answer
    TIMED_OUT = 75  # EX_TEMPFAIL: the wait timed out, the rollout goes on
    CONFIG = 78  # EX_CONFIG
    INTERRUPTED = 130  # by Ctrl-C
    PLAN_FAILED = 255  # `plan` only, where 1 means something else


def exit_of(error: TrapdError, verb: str) -> Exit:
    """The exit status of a verb that ended with this error."""
    match error:
        case AnswerError(code=Code.USAGE) | UsageError():
            return Exit.UNKNOWN if verb == "status" else Exit.USAGE
        case _ if verb == "plan":
            return Exit.PLAN_FAILED
        case SettingsError():
            return Exit.CONFIG
        case UnreachableError(absent=True):
            return Exit.NOT_RUNNING if verb == "status" else Exit.STOPPED
        case UnreachableError():
            return Exit.UNKNOWN if verb == "status" else Exit.UNREACHABLE
        case AnswerError(code=Code.NOT_PERMITTED) | NotPermittedError():
            return Exit.NOT_PERMITTED
        case AnswerError(code=Code.TIMED_OUT):
            return Exit.TIMED_OUT
        case AnswerError() if verb == "status":
            return Exit.UNKNOWN
        case _:
            return Exit.FAILED
