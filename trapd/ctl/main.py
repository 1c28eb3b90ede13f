"""trapctl: the verbs, their options and their help. It and install_verbs.py alone know click. Imports nothing heavy."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from trapd import __version__, durations
from trapd.control.protocol import MOST_LINES
from trapd.ctl import install_verbs
from trapd.ctl import verbs as do
from trapd.ctl.exits import Exit, exit_of
from trapd.ctl.session import Session
from trapd.errors import TrapdError

_NUMBER = re.compile(r"[0-9.]+")


def _seconds(context: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """As in trapd.toml; a number alone is seconds."""
    try:
        return None if value is None else durations.seconds(f"{value}s" if _NUMBER.fullmatch(value) else value)
    except ValueError as error:
        words = f"{value!r} is {error}; write one such as {durations.EXAMPLES}"
        raise click.BadParameter(words, context, param) from None


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
Verb = Callable[..., Any]


class _Top(click.Group):
    """Says what went wrong, and turns it into an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # the reader, such as `head`, has seen enough; click would make it exit status 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.OK
        except TrapdError as error:
            status = exit_of(error, ctx.invoked_subcommand or "")
            ctx.obj.complain(str(error), status)
            return status


@click.group(cls=_Top, context_settings=CONTEXT)
@click.option("--config", metavar="FILE", help="trapd.toml; else TRAPD_CONFIG, else /etc/trapd/trapd.toml.")
@click.option("--socket", metavar="PATH", type=click.Path(path_type=Path), help="trapd's control socket itself.")
@click.version_option(__version__, prog_name="trapctl", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config: str | None, socket: Path | None) -> None:
    """Look at trapd, and tell it what to do.

    Looking is for everybody; changing is for root and the members of group trapd. Exit statuses: 0 done,
    1 failed, 2 usage, 4 not permitted, 7 trapd does not run, 69 trapd does not answer, 75 timed out but still going on,
    78 configuration error. `status`: 0 as desired, 1 degraded, held or failed, 3 not running, 4 unknown. `plan`: 0
    nothing to do, 1 something, 255 error.
    """
    context.obj = Session(config, socket, os.environ)


def _json(verb: Verb) -> Verb:
    def set_it(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and (session := context.find_object(Session)) is not None:
            session.as_json = True

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=set_it, help="One JSON document, schema 1."
    )(verb)


def _waiting(verb: Verb) -> Verb:
    verb = click.option(
        "--timeout",
        callback=_seconds,
        metavar="DURATION",
        help="Stop waiting after, e.g. 90s or 10min; exit status 75.",
    )(verb)
    return click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is over.")(verb)


_POOL = click.argument("pool")
_POOLS = click.argument("pools", nargs=-1, metavar="[POOL]...")
_ONE_POOL = click.argument("pool", required=False)
_LIMIT = click.option(
    "-n", "--limit", type=click.IntRange(1, MOST_LINES), default=20, show_default=True, help="The latest so many."
)


@cli.command()
@_POOLS
@click.option("--watch", is_flag=True, help="Again every 2 seconds, until Ctrl-C.")
@_json
@click.pass_obj
def status(session: Session, pools: Sequence[str], watch: bool) -> int:
    """What runs, against what should."""
    return do.watch_status(session, pools) if watch else do.status(session, pools)


@cli.command()
@_POOLS
@click.option("--reason", default="", metavar="TEXT", help="Why, for history.")
@_waiting
@_json
@click.pass_obj
def recycle(session: Session, pools: Sequence[str], reason: str, wait: bool, timeout: float | None) -> int:
    """Replace every worker by one with the same code, gracefully.

    Of all pools, or of those named. Shows the progress and ends with the outcome; a rejection ends with its
    traceback.
    """
    return do.roll(session, "recycle", wait=wait, timeout=timeout, pools=list(pools), reason=reason)


@cli.group()
def rollout() -> None:
    """Look at rollouts, hold them, take them back."""


@rollout.command("status")
@_POOLS
@_waiting
@_json
@click.pass_obj
def rollout_status(session: Session, pools: Sequence[str], wait: bool, timeout: float | None) -> int:
    """How far the latest rollout is; waits for its end, as kubectl does."""
    return do.rollout_status(session, pools, wait=wait, timeout=timeout)


@rollout.command("pause")
@_POOL
@_json
@click.pass_obj
def rollout_pause(session: Session, pool: str) -> int:
    """Move nothing in a pool until it is resumed; what runs is kept running."""
    told = "pool {pool}: paused; trapctl rollout resume {pool} lets it go on"
    return do.change(session, "rollout.pause", lambda said: told.format(**said), pool=pool)


@rollout.command("resume")
@_POOL
@_json
@click.pass_obj
def rollout_resume(session: Session, pool: str) -> int:
    """Let a paused pool go on."""
    return do.change(session, "rollout.resume", lambda said: f"pool {said['pool']}: goes on", pool=pool)


@rollout.command("undo")
@_POOL
@_waiting
@_json
@click.pass_obj
def rollout_undo(session: Session, pool: str, wait: bool, timeout: float | None) -> int:
    """Back to the good code before.

    What is undone is not rolled out again by itself, whatever settings change; a second undo takes back the first.
    """
    return do.roll(session, "rollout.undo", wait=wait, timeout=timeout, pool=pool)


@rollout.command("history")
@_ONE_POOL
@_LIMIT
@_json
@click.pass_obj
def rollout_history(session: Session, pool: str | None, limit: int) -> int:
    """Past rollouts, newest first."""
    return do.look(session, "rollout.history", "history", pool=pool, limit=limit)


@cli.command()
@_POOLS
@_waiting
@_json
@click.pass_obj
def retry(session: Session, pools: Sequence[str], wait: bool, timeout: float | None) -> int:
    """Try installed code again that was rejected, or that failed."""
    return do.roll(session, "retry", wait=wait, timeout=timeout, pools=list(pools))


@cli.command()
@_json
@click.pass_obj
def generations(session: Session) -> int:
    """The generations that are kept, newest first."""
    return do.look(session, "generations", "generations")


@cli.command(context_settings={"ignore_unknown_options": True})
@_POOL
@click.argument("workers", metavar="N|+N|-N")
@_json
@click.pass_obj
def scale(session: Session, pool: str, workers: str) -> int:
    """Want N workers in a pool, N more, or N fewer.

    Until scaled again; over restarts of trapd, too.
    """
    told = "pool {pool}: {wanted} workers wanted, {before} before"
    return do.change(session, "scale", lambda said: told.format(**said), pool=pool, workers=workers)


@cli.command()
@_POOLS
@_json
@click.pass_obj
def plan(session: Session, pools: Sequence[str]) -> int:
    """What trapd would do now. Nothing is done."""
    return do.plan(session, pools)


@cli.command()
@click.argument("subject")
@_json
@click.pass_obj
def why(session: Session, subject: str) -> int:
    """The chain from what set it off to now.

    SUBJECT is a pool, a rollout's number or a worker such as default@7-1.
    """
    return do.look(session, "why", "why", subject=subject)


@cli.command()
@_ONE_POOL
@_LIMIT
@_json
@click.pass_obj
def events(session: Session, pool: str | None, limit: int) -> int:
    """What happened, oldest first: the tail of trapd's history."""
    return do.look(session, "events", "events", pool=pool, limit=limit)


@cli.command()
@_json
@click.pass_obj
def check(session: Session) -> int:
    """Look for what is wrong or can lose work.

    Is the configuration sound, does the application import, does the broker answer, can a setting lose work?
    Needs no running trapd. Imports the application on its own interpreter, without changing anything. Warnings
    do not count; errors are exit status 1.
    """
    from trapd.ctl.check import check as run

    return run(session)


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False, options_metavar="")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="ARGUMENTS...")
@click.pass_obj
def celery(session: Session, arguments: Sequence[str]) -> int:
    """Run any Celery sub-command on this application.

    With the service's own settings and code. For example: trapctl celery inspect active; or inspect trapd_code: what
    code has each worker of the whole cluster loaded? The exit status is Celery's.
    """
    from trapd.ctl.celery import become

    return become(session, arguments)


@cli.command()
@click.argument("subject", required=False, metavar="[POOL|INSTANCE]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is still to come, until Ctrl-C.")
@click.option("--since", metavar="TIME", help='Not older than this, as journalctl reads it: "10 min ago".')
@click.option("--json", "as_json", is_flag=True, help="The journal's own JSON, one entry a line.")
@click.pass_obj
def logs(session: Session, subject: str | None, follow: bool, since: str | None, as_json: bool) -> None:
    """What the workers said, and trapd about them."""
    from trapd.ctl.logs import show

    show(session.settings, subject, follow=follow, since=since, as_json=as_json)


install_verbs.add_to(cli)


def verbs() -> set[str]:
    """Every verb, sub-verbs with their group: "status", "rollout status"."""
    groups = {name: one for name, one in cli.commands.items() if isinstance(one, click.Group)}
    return {f"{name} {verb}" for name, one in groups.items() for verb in one.commands} | (cli.commands.keys() - groups)


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    try:
        return int(cli.main(arguments, prog_name="trapctl", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        print("trapctl: interrupted; what was begun goes on", file=sys.stderr)
        return Exit.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
