"""`python -m trapd.distribute.run` and a worker on a stand-in for Trap, where there is no numpy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from celery import Celery
from kombu import pools

import trapd
from tests.support import fake_main_line

ROOT = Path(trapd.__file__).parents[1]
_BEGIN = """
import runpy, sys
from tests.support import fake_exact

sys.modules["trapd.distribute.exact"] = fake_exact
runpy.run_module({!r}, run_name="__main__")
"""
_WORKER = ("-A", "trapd.distribute.app:app", "worker", "-c", "2", "-n", "default-7-1@host", "--without-mingle")


class Site:
    """A folder with a stand-in for Trap, images, and a celeryconfig with these settings. ``library``: a folder with
    more that they import."""

    def __init__(self, place: Path, images: int, library: Path | None = None, **settings: str) -> None:
        self.place, self.settings = place, settings
        self.database = place / "database.sqlite"
        fake_main_line.write(place / "site", "1.4.0")
        config = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        (place / "site" / "celeryconfig.py").write_text(config)
        (place / "images").mkdir()
        for number in range(images):
            (place / "images" / f"{number}.fits").write_text(" ".join(["0.5"] * (number + 1)))
        path = ":".join(map(str, (place / "site", ROOT, *([library] if library else []))))
        self._env = {**os.environ, "PYTHONPATH": path, "HOME": str(place)}

    @contextlib.contextmanager
    def run(self, keep: Path | None = None, queue: str | None = None) -> Iterator[subprocess.Popen[str]]:
        """A run of all images. ``keep``: of its answers."""
        options = (*(("--keep", str(keep)) if keep else ()), *(("--queue", queue) if queue else ()))
        arguments = (*options, "--", "-i", str(self.place / "images"), "--db_name", str(self.database))
        with self._python("trapd.distribute.run", *arguments, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def worker(self) -> Iterator[None]:
        with (self.place / "worker.log").open("wb") as log, self._python("celery", *_WORKER, stderr=log) as process:
            try:
                yield
            finally:
                process.terminate()

    def _python(self, module: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _BEGIN.format(module), *arguments]
        return subprocess.Popen(command, env=self._env, cwd=self.place, text=True, **options)  # type: ignore[call-overload, no-any-return]

    def sent(self) -> int:
        """How many tasks wait in the queue."""
        app = Celery("counter", broker=self.settings["broker_url"], set_as_current=False)
        try:
            with app.connection_for_read() as connection:
                channel = connection.default_channel
                with contextlib.suppress(*connection.channel_errors):  # there is no queue yet
                    return int(channel.queue_declare("celery", passive=True).message_count)
            return 0
        finally:
            pools.reset()
            app.close()
