"""A whole trapd whose runtime directory somebody removes: it is heard again, or it ends with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import make_broker
from tests.support.daemon import Daemon, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting


@pytest.mark.timeout(120)
def test_trapd_without_its_runtime_directory_makes_it_anew_or_ends(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    daemon = Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=setting.tables(application))
    with daemon:
        daemon.wait_until("a worker", settled_on("1.0", 1))
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("[pools.default]", '[pools.default]\nloglevel = "DEBUG"'))
        daemon.wait_until(
            "an event", lambda _: "not in force" in daemon.ctl("events").stdout, 10
        )  # nobody asked before
        done = daemon.ctl("status")
        assert (done.returncode, "not in force; reload trapd, or send it SIGHUP" in done.stdout) == (1, True)
        daemon.config.write_text(text)
        assert daemon.ctl("status").returncode == 0

        shutil.rmtree(daemon.runtime)
        daemon.wait_until("the socket", bool, 10)
        done = daemon.ctl("recycle")  # the new worker's READY is heard
        assert done.returncode == 0, done.stderr
        assert daemon.words().count("listening there again") == 1

        shutil.rmtree(daemon.runtime)
        daemon.runtime.touch()  # nobody can make a socket there
        assert daemon.process is not None
        assert daemon.process.wait(30) == 1
        assert f"cannot listen in {daemon.runtime} any more" in daemon.words()
        assert "start trapd again" in daemon.words()
