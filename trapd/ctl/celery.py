"""`trapctl celery ARGUMENTS...`: Celery's own command line on the service's application, settings and code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from trapd import environment
from trapd.access import closed
from trapd.control import methods
from trapd.ctl.application import command, permit
from trapd.ctl.client import AnswerError, UnreachableError
from trapd.ctl.session import Session
from trapd.errors import TrapdError
from trapd.layout import State, interpreter
from trapd.settings import variables

_CLI = ["-A", "trapd.worker.configured:app"]


def become(session: Session, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by Celery, on the good generation's snapshot; if there is none, on the installed code."""
    app = session.settings.application
    permit(session.settings)
    generation = usable(session)
    if generation is not None:
        folder, manifest = generation
        python = interpreter(folder, str(manifest["python"]))
        # for the processes that Celery starts: its `multi` and --detach run `python -m celery` anew
        folders = [folder / name for name in manifest["import_path"]]
        own = {"TRAPD_GENERATION": str(folder)}
    else:
        python, folders = app.python, []
        own = {"TRAPD_APP": app.app, "TRAPD_CELERYCONFIG": app.celeryconfig}
        shut = closed(State(session.settings.state_directory).generations)
        why = f"cannot use the workers' own copy: {shut.reason}; {shut.remedy}" if shut else "no generation is there"
        print(f"trapctl: {why}; using what is installed now", file=sys.stderr)
    env = environment.of_question(session.environ, variables.of(app), folders) | own
    argv = command(python, "celery", [*_CLI, *arguments])
    sys.stdout.flush()
    try:
        os.execve(argv[0], argv, env)
    except OSError as error:
        raise TrapdError(f"cannot run {python}: {error.strerror}; see [app] python in trapd.toml") from None


def usable(session: Session, wanted: int | None = None) -> tuple[Path, dict[str, Any]] | None:
    """Return folder and manifest of the generation to use: ``wanted``, else the one that the running trapd reports as
    good, else the newest; None if there is none."""
    generations = State(session.settings.state_directory).generations
    for number in [wanted] if wanted is not None else [*_asked(session), *_newest_first(generations)]:
        try:
            manifest = json.loads((generations / str(number) / "manifest.json").read_bytes())
        except (OSError, ValueError):  # being made, removed a moment ago, or not readable for this user
            continue
        if isinstance(manifest, dict) and manifest.get("schema") in (1, 2):
            return generations / str(number), manifest
    return None


def _asked(session: Session) -> Iterator[int]:
    try:
        pools = session.ask(methods.STATUS({}), patience=2.0)["pools"]
    except (UnreachableError, AnswerError):
        return
    for numbers in ([pool["last_good"] for pool in pools], [pool["generation"] for pool in pools]):
        yield from (number for number in numbers if number is not None)


def _newest_first(generations: Path) -> list[int]:
    try:
        return sorted((int(path.name) for path in generations.iterdir() if path.name.isdecimal()), reverse=True)
    except OSError:
        return []
