"""What is made of the words of workers and of systemd."""

from __future__ import annotations

import pytest

from trapd.backend.words import with_reason

# What the journal had of units that could not be run: of systemd 252.39 (Debian 12) and 257.13 (Debian 13).
USER = """\
Started user.service.
user.service: Failed to determine user credentials: No such process
user.service: Failed at step USER spawning /bin/true: No such process
user.service: Main process exited, code=exited, status=217/USER
user.service: Failed with result 'exit-code'.
"""
FOLDER_252 = """\
Started namespace.service.
namespace.service: Failed to set up mount namespacing: /run/systemd/unit-root/nowhere: No such file or directory
namespace.service: Failed at step NAMESPACE spawning /bin/true: No such file or directory
namespace.service: Main process exited, code=exited, status=226/NAMESPACE
namespace.service: Failed with result 'exit-code'.
"""
FOLDER_257 = FOLDER_252.replace("/run/systemd/unit-root/nowhere", "/nowhere")
PROGRAM_252 = """\
execperm.service: Failed to locate executable /etc/passwd: Permission denied
execperm.service: Failed at step EXEC spawning /etc/passwd: Permission denied
Started execperm.service.
execperm.service: Main process exited, code=exited, status=203/EXEC
"""
PROGRAM_257 = """\
Started execperm.service.
execperm.service: Unable to locate executable '/etc/passwd': Permission denied
execperm.service: Failed at step EXEC spawning /etc/passwd: Permission denied
execperm.service: Main process exited, code=exited, status=203/EXEC
"""
# They come from two processes, so this order is possible too; it was not seen.
BETWEEN = """\
chdir.service: Changing to the requested working directory failed: No such file or directory
Started chdir.service.
chdir.service: Failed at step CHDIR spawning /bin/true: No such file or directory
"""


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (USER, "Failed to determine user credentials: No such process"),
        (FOLDER_252, "Failed to set up mount namespacing: /nowhere: No such file or directory"),
        (FOLDER_257, "Failed to set up mount namespacing: /nowhere: No such file or directory"),
        (PROGRAM_252, "Failed to locate executable /etc/passwd: Permission denied"),
        (PROGRAM_257, "Unable to locate executable '/etc/passwd': Permission denied"),
        (BETWEEN, "Changing to the requested working directory failed: No such file or directory"),
        (USER + FOLDER_257, "Failed to set up mount namespacing: /nowhere: No such file or directory"),
        ("x.service: Failed at step LIMITS spawning /x: Denied\n", "Failed at step LIMITS spawning /x: Denied"),
        (
            "hello\ntrapd-worker: cannot start a@7-1: there is no generation 7",
            "cannot start a@7-1: there is no generation 7",
        ),
    ],
)
def test_what_never_began_is_told_with_the_line_that_names_the_reason(lines: str, reason: str) -> None:
    assert with_reason("it failed", lines) == f"it failed: {reason}"


def test_without_such_a_line_the_summary_stays() -> None:
    assert with_reason("it failed", "hello\n") == "it failed"
