"""`trapctl run`: where Trap's main line runs, with which settings, and what it is started with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trapd import environment
from trapd.access import closed, name_of_user
from trapd.control import methods
from trapd.ctl.application import command, permit
from trapd.ctl.celery import usable
from trapd.ctl.holder import Holder, different
from trapd.ctl.process import find_program, run
from trapd.errors import NotPermittedError, TrapdError, UsageError
from trapd.layout import State, interpreter
from trapd.settings import variables

if TYPE_CHECKING:
    from trapd.ctl.session import Session

MODULE, AS_SERVICE = "trapd.distribute.run", "trapd.worker.as_service"
APPLICATION = "trapd.distribute.app:app"
PIN, REDO = "pin", "redo"  # of --on-upgrade; the words but for the first need no pin
OTHER_CODE = 25  # exit status of trapd.distribute.run: see trapd/distribute/endings.py
_MOVES = 3  # to another generation, at most: each is an upgrade in the middle of one run
_CONFIG = "CELERY_CONFIG_MODULE"  # of Celery's default loader
_LONGEST = 200  # characters of the options that others see


@dataclass(frozen=True, slots=True)
class Place:
    """What a run is started with. ``note``: what the user should know of that; may be empty."""

    python: str
    leading: tuple[str, ...]  # modules that run one after the other
    environ: Mapping[str, str]
    note: str = ""


def start(
    session: Session,
    pool: str | None,
    on_upgrade: str,
    options: Sequence[str],
    trap: Sequence[str],
    *,
    queue: str | None = None,
) -> int:
    """Run Trap to its end, and return the exit status of trapd.distribute.run. ``queue``: one of the pool's; None: see
    ``_queue``."""
    queue = _queue(session, pool, queue)
    own = [*options, "--on-upgrade", on_upgrade, *(["--queue", queue] if queue else [])]
    if on_upgrade != PIN:
        return _unpinned(session, pool, [*own, "--", *trap], _MOVES if on_upgrade == REDO else 0)
    holder = Holder(session.client, session.note)
    held = holder.begin([pool] if pool else [], " ".join(["trapctl run --", *trap])[:_LONGEST])
    if words := different(held):
        session.note(words)
    (first,) = held.values()
    session.note(first["message"])
    found = place(session, first["generation"])
    # its exit status stands, even if the pin has ended before it: it compares the code of all answers itself
    return _run(found, session, [*own, "--", *trap], holder)


def _queue(session: Session, pool: str | None, wanted: str | None) -> str | None:
    """Where the tasks are sent to: ``wanted``, else the pool's queue that is named as this user, else its first; None:
    the pool has none of its own, and reads those of the celeryconfig. Raises UsageError if the pool is not named and is
    not the only one, or does not read the queue that is wanted: nobody would ever answer.
    """
    pools = session.settings.pools
    if pool is None and len(pools) > 1:
        names = ", ".join(sorted(spec.name for spec in pools))
        raise UsageError(f"cannot run Trap without the name of a pool: there are {names}; use --pool")
    spec = next((spec for spec in pools if pool in (None, spec.name)), None)
    queues = [name for name in spec.queues if name not in spec.exclude_queues] if spec else []
    if wanted is not None and spec:
        return _one_of(queues or _consumed(session, spec.name), wanted, spec.name)
    if not spec or not queues:
        return None
    user = name_of_user(os.getuid())
    queue = user if user in queues else queues[0]
    if len(queues) > 1:
        why = "the one with your name" if queue == user else f"the first, because none has the name {user}"
        session.note(f"pool {spec.name} reads the queues {', '.join(queues)}; this run uses {queue}, {why}")
    return queue


def _one_of(queues: Sequence[str], wanted: str, pool: str) -> str:
    if wanted not in queues:
        there = f"pool {pool} reads {', '.join(queues)}" if queues else f"no worker of pool {pool} reads a queue now"
        raise UsageError(f"cannot use the queue {wanted}: {there}; name another one, or leave out --queue")
    return wanted


def _consumed(session: Session, pool: str) -> list[str]:
    """The queues that the pool's workers read now."""
    workers = session.ask(methods.TASKS({"subject": pool}))["workers"]
    return sorted({queue for worker in workers for queue in worker["queues"]})


def _unpinned(session: Session, pool: str | None, arguments: Sequence[str], moves: int) -> int:
    """Run on what the pool is to run; and again, if that is other code when the run has met two, ``moves`` times at
    most: Trap's main line has to be of the code of the answers, and uses those that are kept."""
    generation = _wanted(session, pool)
    status = _run(place(session, generation), session, arguments, None)
    while status == OTHER_CODE and moves and (now := _wanted(session, pool)) != generation:
        session.note(f"generation {now} is the one to run by now: the run goes on there, from the kept answers")
        generation, moves = now, moves - 1
        status = _run(place(session, generation), session, arguments, None)
    return status


def _run(found: Place, session: Session, arguments: Sequence[str], holder: Holder | None) -> int:
    if found.note:
        session.note(found.note)
    first, *others = found.leading
    argv = command(found.python, first, [*others, *arguments])
    return run(find_program(found.python), argv, found.environ, holder.keep if holder else _nothing)


def _nothing() -> None:
    return


def _wanted(session: Session, pool: str | None) -> int | None:
    """The generation that the pool is to run: without a pin, what is new counts."""
    pools = session.ask(methods.STATUS({}))["pools"]
    return next((one["generation"] for one in pools if pool in (None, one["name"])), None)


def place(session: Session, generation: int | None) -> Place:
    """The generation's code with the service's settings, where this user may read them. Otherwise what is installed,
    with the user's own celeryconfig: who may only submit must not see the password of the service.

    Raises NotPermittedError if there is neither, TrapdError if the application is not Trap's.
    """
    application = session.settings.application
    if application.app != APPLICATION:
        raise TrapdError(
            f'cannot run Trap: [app] app is {application.app}, and `trapctl run` needs "{APPLICATION}"; '
            f"python -m {MODULE} in an environment with Trap runs it with any celeryconfig"
        )
    shut = _shut(session)
    if not shut and (found := usable(session, generation)) is not None:
        folder, manifest = found
        environ = _environ(session, [folder / name for name in manifest["import_path"]])
        python = interpreter(folder, str(manifest["python"]))
        _require(folder)
        return Place(python, (AS_SERVICE, MODULE), {**environ, "TRAPD_GENERATION": str(folder)})
    if not shut:
        own = {"TRAPD_APP": application.app, "TRAPD_CELERYCONFIG": application.celeryconfig}
        note = "no generation is there; using what is installed now"
        return Place(application.python, (AS_SERVICE, MODULE), _environ(session) | own, note)
    here = session.environ.get(_CONFIG)
    if not here and not Path("celeryconfig.py").exists():
        raise NotPermittedError(
            f"cannot run Trap with the service's settings: {shut}; put a celeryconfig.py of your own into this folder, "
            "as docs/users.md shows (etc/celeryconfig-submitter.py is one)"
        )
    note = f"using what is installed now, with your own {here or 'celeryconfig.py'}, because {shut}"
    return Place(application.python, (MODULE,), _environ(session) | ({_CONFIG: here} if here else {}), note)


def _shut(session: Session) -> str:
    """Why this user may not read what a worker reads; empty if they may."""
    try:
        permit(session.settings)
    except NotPermittedError as error:
        return str(error).partition(": ")[2].partition("; ")[0]
    shut = closed(State(session.settings.state_directory).generations)
    return shut.reason if shut else ""


def _environ(session: Session, folders: Sequence[Path] = ()) -> dict[str, str]:
    return environment.of_question(session.environ, variables.of(session.settings.application), folders)


def _require(folder: Path) -> None:
    """Raise TrapdError if this generation was made by a trapd that had no `trapctl run`."""
    module = folder.joinpath("runtime", *MODULE.split(".")).with_suffix(".py")
    if not module.exists():
        raise TrapdError(
            f"cannot run Trap on generation {folder.name}: an older trapd made it; trapctl recycle makes a new one"
        )
