"""A worker that hangs in its drain when its trapd is gone ends itself, and what it started."""

from __future__ import annotations

import subprocess
import sys

# A trapd that goes, its worker, which hangs, and its child; each holds the pipe that the test reads to its end.
STORY = """
import os, sys, time
if not os.fork():
    os.setsid()
    from trapd.worker.orphan import Orphan
    orphan, parent = Orphan(), os.getppid()
    orphan.look(1000.0)
    print("its parent lives", flush=True)
    sys.stdin.readline()
    while os.getppid() == parent:
        time.sleep(0.01)
    orphan.look(89.0)
    print("it may take its time", flush=True)
    if not os.fork():
        time.sleep(60)
    orphan.look(91.0)
    print("it lives on", flush=True)
else:
    time.sleep(0.2)
"""


def test_it_ends_itself_only_without_a_parent_and_says_where_it_stood() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORY], input="go\n", capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.splitlines() == ["its parent lives", "it may take its time"]
    assert "trapd is gone, and this did not leave for 91 s" in done.stderr
    assert "most recent call first" in done.stderr
