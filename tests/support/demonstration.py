"""``make run`` as a process of its own, with its temporary files in a folder of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.processes import marked

ROOT = Path(__file__).parents[2]


class Demonstration:
    """The command, with its temporary files in a folder of the test."""

    def __init__(self, place: Path, *arguments: str, **environment: str) -> None:
        self.place, self.out = place, place / "out"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "demo", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(place), **environment},
                start_new_session=True,
            )

    def words(self) -> str:
        return self.out.read_text()

    def wait_for(self, words: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while words not in self.words():
            assert self.process.poll() is None, self.words()
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.1)

    def left_behind(self) -> list[str]:
        """Files in its folder, and processes whose temporary files were to be there."""
        (self.place / "out").unlink()
        files = [str(path) for path in self.place.iterdir()]
        return files + list(marked(f"TMPDIR={self.place}").values())


@contextmanager
def demonstration(place: Path, *arguments: str, **environment: str) -> Iterator[Demonstration]:
    one = Demonstration(place, *arguments, **environment)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)
            one.process.wait(90)
