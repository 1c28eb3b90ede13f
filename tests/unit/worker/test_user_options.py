"""Options that an application adds to `celery worker`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest
from celery import Celery
from celery.signals import user_preload_options

from trapd.worker import user_options
from trapd.worker.report import ConfigurationError


def application(**options: click.Option) -> Celery:
    app = Celery("app", set_as_current=False)
    for command, option in options.items():
        app.user_options[command].add(option)
    return app


def test_an_option_has_its_default_or_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's command line hands both to the worker's steps."""
    monkeypatch.setenv("SITE", "3")
    app = application(worker=click.Option(["--site"], envvar="SITE", type=int, required=True))
    app.user_options["worker"].add(click.Option(["--depth"], default=7))
    assert user_options.values(app, "worker") == {"site": 3, "depth": 7}
    assert user_options.values(app, "beat") == {}


def test_a_required_option_without_a_value_ends_the_worker_and_says_which() -> None:
    app = application(worker=click.Option(["--site"], required=True))
    with pytest.raises(
        ConfigurationError, match=r"cannot start a worker: Missing option '--site'\. It is one that the"
    ):
        user_options.values(app, "worker")


def test_options_before_the_command_are_announced() -> None:
    heard: list[Any] = []

    def hear(app: Celery, options: dict[str, Any], **_: Any) -> None:
        heard.append((app, options))

    user_preload_options.connect(hear)
    app = application(preload=click.Option(["-Z", "--template"], default="plain"))
    user_options.announce(app, user_options.values(app, "worker"))
    user_options.announce(application(), {})
    user_preload_options.disconnect(hear)
    assert heard == [(app, {"template": "plain"})]


def test_without_any_nothing_is_asked() -> None:
    assert user_options.values(application(), "worker") == {}


def test_a_worker_without_any_does_not_import_celerys_command_line() -> None:
    """It takes 50 ms of each start."""
    program = "import sys, trapd.worker.running; sys.exit('celery.bin' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
