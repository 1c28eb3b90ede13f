"""`trapctl pin`"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from trapd.ctl import complete
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session

if TYPE_CHECKING:
    from trapd.control import documents

_OPTIONS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=_OPTIONS, options_metavar="[--pool POOL]...")
@click.option(
    "--pool",
    "pools",
    metavar="POOL",
    multiple=True,
    shell_complete=complete.pools,
    help="Pin this pool; else the only pool. May be given more than once: all are pinned, or none.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.pass_obj
def verb(session: Session, pools: Sequence[str], command: Sequence[str]) -> int:
    """Run a command on one version of the code of one pool or of several.

    While COMMAND runs, no other code is rolled out there; what is installed meanwhile is rolled out afterwards.
    Recycles of the same code, restarts and scale go on. If a rollout is under way, COMMAND begins when the rollout has
    ended; if the rollout waits for a person, the exit status is 75. Members of group trapd-submit may do this, for
    [rollout] longest_pin at most; trapctl rollout promote POOL overrides it.

    The exit status is COMMAND's, or 128 and the number of the signal that ended COMMAND; signals are passed on. It is
    75 if COMMAND has succeeded and the code was not held until then. COMMAND finds the generation of the first POOL in
    TRAPD_PIN_GENERATION, and its digest in TRAPD_PIN_DIGEST. If the pools are on different code, trapctl says so.
    """
    from trapd.ctl.holder import Holder, different
    from trapd.ctl.process import find_program, run

    program = find_program(command[0])
    holder = Holder(session.client, lambda text: session.complain(text, 0))
    held = holder.begin(pools, shlex.join(command)[:_LONGEST])
    if words := different(held):
        session.note(words)
    status = run(program, command, {**os.environ, **_environment(held)}, holder.keep)
    return Exit.TIMED_OUT if status == Exit.OK and holder.end() else status


_LONGEST = 200  # characters of the command that others see


def _environment(held: Mapping[str, documents.PinProgress]) -> dict[str, str]:
    first = next(iter(held.values()))
    return {"TRAPD_PIN_GENERATION": str(first["generation"]), "TRAPD_PIN_DIGEST": first["digest"] or ""}
