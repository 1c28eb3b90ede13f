"""trapctl: the list of its verbs, and the exit status of an error. A verb is imported when it is used."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trapd import __version__
from trapd.ctl.exits import Exit, exit_of
from trapd.ctl.session import Session
from trapd.errors import TrapdError

# The verb of a group has the group's name before it. Each verb has a file in ctl/verbs.
VERBS = (
    "celery",
    "check",
    "drain",
    "events",
    "generations",
    "generations diff",
    "install",
    "logs",
    "metrics",
    "notify",
    "pin",
    "plan",
    "recycle",
    "retry",
    "rollout history",
    "rollout pause",
    "rollout promote",
    "rollout resume",
    "rollout status",
    "rollout undo",
    "run",
    "scale",
    "schema",
    "status",
    "tasks",
    "tasks drop",
    "tasks end",
    "tasks poisoned",
    "tasks retry",
    "undrain",
    "uninstall",
    "why",
)
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Verbs(click.Group):
    """A group whose commands are files; ``within`` is the name of this group, with a space behind it."""

    within = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = {name.removeprefix(self.within).split()[0] for name in VERBS if name.startswith(self.within)}
        return sorted(own)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (given := super().get_command(ctx, cmd_name)) is not None:
            return given
        name = f"{self.within}{cmd_name}"
        if name not in VERBS:
            return None
        module = importlib.import_module(f"trapd.ctl.verbs.{name.replace(' ', '_')}")
        command: click.Command = module.verb
        command.name = cmd_name
        return command


class _Top(_Verbs):
    """Print an error, and turn it into an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # the reader, such as `head`, has ended; click would exit with status 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.OK
        except TrapdError as error:
            status = exit_of(error, ctx.invoked_subcommand or "")
            ctx.obj.complain(str(error), status)
            return status


class _OfRollouts(_Verbs):
    within = "rollout "


@click.group(cls=_Top, context_settings=CONTEXT)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    help="Read this trapd.toml; else TRAPD_CONFIG, else /etc/trapd/trapd.toml.",
)
@click.option(
    "--socket", metavar="PATH", type=click.Path(path_type=Path), help="Connect to this control socket of trapd."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; before or after the verb.")
@click.version_option(__version__, prog_name="trapctl", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config: str | None, socket: Path | None, as_json: bool) -> None:
    """Show and control trapd and its workers.

    All users may ask for the state; root and the members of group trapd may change it. Exit statuses: 0 done,
    1 failed, 2 usage, 4 not permitted, 7 trapd does not run, 69 trapd does not answer, 75 the wait timed out and the
    rollout goes on, 78 configuration error. `status`: 0 as desired, 1 degraded, held or failed, 3 not running, 4
    unknown. `plan`: 0 nothing to do, 1 something, 255 error.
    """
    context.obj = Session(config, socket, os.environ, as_json=as_json)


@cli.group(cls=_OfRollouts)
def rollout() -> None:
    """Show rollouts, hold them, undo them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the locale lacks must not end the command
            stream.reconfigure(errors="replace")
    try:
        return int(cli.main(arguments, prog_name="trapctl", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        print("trapctl: interrupted; a rollout that has begun goes on", file=sys.stderr)
        return Exit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
