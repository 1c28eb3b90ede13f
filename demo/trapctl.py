"""A question to trapctl, asked again and again without waiting for the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.processes import Processes

ASK_EVERY = 1.0  # s between an answer and the next question: each question costs a start of Python
PAUSE = 2.0  # times as long as an answer took, at least: on a busy machine, where that is 2 s, nobody needs 20 a minute


class Trapctl:
    """``trapctl VERB --json``. ``member`` is in every good answer."""

    def __init__(self, processes: Processes, configuration: Path, verb: str, member: str, *options: str) -> None:
        trapctl = Path(sys.executable).with_name("trapctl")
        self._processes = processes
        self._command = [str(trapctl), "--config", str(configuration), verb, "--json", *options]
        self._verb, self._member = verb, member
        self._answer = processes.logs / f"{verb}.json"
        self._asking: subprocess.Popen[bytes] | None = None
        self._asked = self._ask_at = 0.0  # of CLOCK_MONOTONIC

    def look(self) -> dict[str, Any] | None:
        """The next answer, or None if there is none yet. Asks if it is time to. Never waits."""
        if self._asking is None:
            if (now := time.monotonic()) >= self._ask_at:
                self._asked = now
                self._answer.unlink(missing_ok=True)
                self._asking = self._processes.start(self._verb, self._command, output=self._answer.name)
            return None
        if self._asking.poll() is None:
            return None
        answered = time.monotonic()
        self._asking, self._ask_at = None, answered + max(ASK_EVERY, PAUSE * (answered - self._asked))
        try:
            answer = json.loads(self._answer.read_bytes())
        except ValueError:  # trapd is not up yet; or gone, which its own exit tells
            return None
        return answer if isinstance(answer, dict) and self._member in answer else None
