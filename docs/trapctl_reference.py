"""Write docs/trapctl.md, the reference of every verb, from trapctl's own help: ``python -m docs.trapctl_reference``"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from trapd.ctl.main import cli

FILE = Path(__file__).with_name("trapctl.md")
WIDTH = 100

HEAD = """# trapctl

`trapctl` shows and controls trapd, over the socket that [protocol.md](protocol.md) describes. It finds trapd by the
configuration that trapd itself uses (`--config`, else `TRAPD_CONFIG`, else `/etc/trapd/trapd.toml`), or by `--socket`.
This file is made from `trapctl --help` by `python -m docs.trapctl_reference`.

On a terminal there are colours and progress bars, in a pipe plain lines of any length. `NO_COLOR` switches colours off.
With `--json` the answer is one JSON document on standard output, errors included:
`{"schema": 2, "error": {"exit": 7, "message": "..."}}`; `trapctl schema` describes all of them. No password is
shown; those in URLs are replaced by stars.

## Exit statuses

| status | means |
|---|---|
| 0 | done; `status`: as desired; `plan`: nothing to do; `check`: no errors |
| 1 | failed: the command was refused, or the rollout did not end well |
| 1 | `status`: degraded, held or failed; `plan`: something would be done; `check`: errors |
| 2 | wrong usage; no such pool, worker or rollout |
| 3 | `status` only: trapd is not running |
| 4 | not permitted; `status`: unknown, since trapd does not answer or has no such pool |
| 7 | trapd does not run |
| 69 | trapd does not answer |
| 75 | the wait timed out; what was waited for goes on |
| 78 | the configuration cannot be used |
| 130 | interrupted by Ctrl-C; a rollout that has begun goes on |
| 255 | `plan` only: any other error |

`celery` ends with Celery's own exit status. A rollout that is in progress and goes well is as desired.

## Settings that can lose work

`trapctl check` imports the application on its own interpreter, as it is installed now, loads the settings and asks the
broker for a connection. It names the settings that trapd cannot make safe: tasks that are acknowledged early, or late
without `task_reject_on_worker_lost`; a `visibility_timeout` that is shorter than a drain may take; settings that are
right for one broker and harmful on another; `task_always_eager`; mixed and misspelt names. Each finding has its reason
and its remedy.
"""


def verbs(
    command: click.Command, path: tuple[str, ...] = ("trapctl",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what is in them."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from verbs(inner, (*path, name))


def help_of(path: tuple[str, ...], command: click.Command) -> str:
    """As ``--help`` prints it, ``WIDTH`` columns wide."""
    context = None
    for name in path[:-1]:
        context = click.Context(cli, parent=context, info_name=name)
    with click.Context(
        command,
        parent=context,
        info_name=path[-1],
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    ) as own:
        return command.get_help(own)


def reference() -> str:
    """The whole file."""
    parts = [HEAD]
    for path, command in verbs(cli):
        parts.append(f"\n## {' '.join(path)}\n\n```text\n{help_of(path, command)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(reference())
