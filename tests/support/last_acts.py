"""A pip that ends, by SIGKILL, in the middle of its work: at the n-th change that it makes below a folder."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 180.0  # s
COUNT = -1  # in the place of n: the changes are only counted

_HOOK = """
import os, signal, sys

count, site = 0, os.environ["TRAPD_TEST_SITE"]
last = int(os.environ["TRAPD_TEST_LAST"])

def note(event, arguments):
    global count
    if event == "open":
        changes = isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
    else:
        changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "os.chmod")
    if changes and str(arguments[0]).startswith(site):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(note)
if last < 0:
    import atexit
    atexit.register(lambda: print(count))
"""


def pip(python: Path, arguments: Sequence[str], *, below: Path, last: int) -> int:
    """Run pip. Returns its exit status, -SIGKILL if change ``last`` was its last one; of COUNT the number of changes.

    Raises AssertionError with pip's words if it fails by itself.
    """
    hook = below.parents[3] / "last-acts"  # beside the virtual environment
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(_HOOK)
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    variables = {"PYTHONPATH": str(hook), "TRAPD_TEST_SITE": str(below), "TRAPD_TEST_LAST": str(last)}
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return int(done.stdout) if last == COUNT else done.returncode
