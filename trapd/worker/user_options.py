"""Options that an application adds to `celery worker` or `celery beat` (``app.user_options``): their defaults.

Nobody types a command line here, so an option gets its default or the environment variable that it names. One that is
required and gets neither ends the worker, as Celery's command line would.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import user_preload_options

from trapd.worker.report import ConfigurationError


def values(app: Celery, program: str) -> dict[str, Any]:
    """Keyword arguments for the ``program``, worker or beat, as its command line has them.

    Raises ConfigurationError for an option that needs a value and has none.
    """
    added = app.user_options
    options = [*added.get(program, ()), *added.get("preload", ())]
    if not options:
        return {}
    import click  # here: with Celery's command line it takes 50 ms, and few have such options
    from celery.bin.base import CLIContext

    command = click.Command(program, params=options)
    try:
        context = command.make_context(program, [], obj=CLIContext(app=app, no_color=True, workdir=None))
    except click.UsageError as error:
        raise ConfigurationError(
            f"cannot start a {program}: {error.format_message()} It is one that the application adds to "
            f"`celery {program}`; "
            "give it a default, or an envvar=... that the pool's environment in trapd.toml sets"
        ) from None
    return dict(context.params)


def announce(app: Celery, given: dict[str, Any]) -> None:
    """Tell those who listen for options that come before the command, as Celery does before it makes the program."""
    names = [option.name for option in app.user_options.get("preload", ())]
    if names:
        user_preload_options.send(sender=announce, app=app, options={name: given[name] for name in names})
