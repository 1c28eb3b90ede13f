"""Speaks sd_notify to whoever supervises: systemd, or trapd's embedded backend."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sdnotify import SystemdNotifier


class Notifier:
    """Sends without ever waiting: a supervisor that does not listen must not stop the worker.

    One thread at a time may use it. Without NOTIFY_SOCKET, everything counts as sent.
    """

    def __init__(self) -> None:
        self._line: SystemdNotifier | None = None
        self._supervised = bool(os.environ.get("NOTIFY_SOCKET"))

    def send(self, fields: Mapping[str, str]) -> bool:
        """Whether the message is on its way; if not, it may be sent again later."""
        if not self._supervised:
            return True
        # sdnotify speaks latin-1, systemd UTF-8: what both read is ASCII. A line break would begin another field.
        text = "\n".join(f"{key}={' '.join(value.split())}" for key, value in fields.items())
        try:
            self._connected().notify(text.encode("ascii", "replace").decode("ascii"))
        except BlockingIOError:
            return False
        except OSError:  # the supervisor is gone; the next one may listen at the same place
            self.close()
            return False
        return True

    def close(self) -> None:
        if self._line is not None:
            self._line.socket.close()
            self._line = None

    def _connected(self) -> SystemdNotifier:
        if self._line is None:
            self._line = SystemdNotifier(debug=True)  # debug: it raises what it would swallow
            self._line.socket.setblocking(False)
        return self._line


def watchdog_seconds() -> float:
    """How often the supervisor wants a sign of life of this process at least; 0 if it does not."""
    value, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not value.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(value) / 1e6
