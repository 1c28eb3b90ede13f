"""The end of a worker that hangs in its drain when whoever would have ended it is gone: nothing outlives trapd."""

from __future__ import annotations

import faulthandler
import os
import signal

from trapd.worker.lines import log_line

PATIENCE = 90.0  # s without a running task; trapd itself ends it after 67


class Orphan:
    """Made while its parent lives. Under systemd that is PID 1, which goes before nobody."""

    def __init__(self) -> None:
        self._parent = os.getppid()

    def look(self, quiet: float) -> None:
        """``quiet``: seconds since a draining worker ran its last task. Says where it stands, and ends its group."""
        if quiet < PATIENCE or os.getppid() == self._parent:
            return
        log_line(f"trapd is gone, and this did not leave for {quiet:.0f} s: ended", "ERROR")
        faulthandler.dump_traceback(all_threads=True)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
