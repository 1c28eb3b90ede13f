"""One look without a daemon: ``python -m trapd.watch.once`` prints what a watch would find now, as JSON.

`trapctl check` asks this, in a process of its own, so that both judge alike. The question comes by standard
input: it has the pools' variables, and everybody may read a command line.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trapd.watch.distributions import Distribution, Kind
from trapd.watch.environment import AUTO
from trapd.watch.interpreter import Interpreter
from trapd.watch.projects import left_out, placed
from trapd.watch.quiet import Verdict
from trapd.watch.shadows import NO_PATHS
from trapd.watch.sites import Site, find, normalise, read_metadata, scan
from trapd.watch.survey import Surveyor

# How a program climbs from __file__: .parent.parent, .parents[1], dirname(dirname(...)), "..", pardir
_CLIMBS = re.compile(rb"\.parent\.parent|\.parents\b|dirname\([^()\n]*dirname|pardir|[\"']\.\.[\"'/]")


def look(
    python: str,
    celeryconfig: str,
    distributions: Sequence[str],
    environment: Mapping[str, str],
    snapshot: str = AUTO,
    paths: Mapping[str, str] = NO_PATHS,
) -> dict[str, Any]:
    """``state`` is whole, unfinished or broken, with its ``reason``; ``problem`` is what of that is the celeryconfig's
    or the interpreter's, and whether the latter ``answered``. ``distributions``: what was found of each. ``projects``:
    those that are copied with their surroundings, which of their files look around, whether we may write there, and
    which folders with code are not copied.
    ``warnings``: what is not whole and holds nothing back, since it may have been so before.
    ``shadows``: code on a PYTHONPATH (``paths``: setting -> PYTHONPATH) that workers do not run.
    ``environment``: whether all that is needed is copied, and not the watched ones alone; ``pins``: what a watched one
    requires in one version and would not be copied.
    """
    interpreter = Interpreter(Path(python), Path(celeryconfig), environment=environment)
    answer = asyncio.run(interpreter.ask())
    surveyor = Surveyor(Path(python), Path(celeryconfig), distributions, snapshot=snapshot, paths=paths)
    survey = surveyor.look(answer, lambda places: (), wall=time.time(), fresh=True)
    finding, whole = survey.finding, survey.disk.environment is not None
    return {
        "state": finding.verdict.name.lower(),
        "reason": finding.reason,
        "problem": answer.problem,
        "answered": bool(answer.identity),
        "distributions": {distribution.name: _describe(distribution) for distribution in survey.found},
        "projects": _projects(survey.found),
        "warnings": list(survey.warnings.values()) if finding.verdict is Verdict.WHOLE else [],
        "shadows": [{"what": one.what, "reason": one.reason, "remedy": one.remedy} for one in survey.shadows],
        "environment": whole,
        "pins": [] if whole else list(_pins(survey.found, scan(answer.paths), set(map(normalise, distributions)))),
    }


def _pins(found: Iterable[Distribution], sites: list[Site], watched: set[str]) -> Iterator[dict[str, str]]:
    """What the watched ones want in one version, that is installed and not watched itself."""
    with_metadata = [distribution for distribution in found if distribution.metadata]
    for distribution in with_metadata:
        for wanted in read_metadata(distribution.site.path / distribution.metadata).requires:
            there = wanted.pinned and not wanted.only_for and find(sites, wanted.name)
            if there and wanted.name not in watched:
                yield {"by": distribution.name, "name": wanted.name, "version": wanted.pinned}


def _describe(distribution: Distribution) -> dict[str, Any]:
    return {
        "version": distribution.version,
        "kind": distribution.kind.name.lower(),
        "place": str(distribution.site.path),
    }


def _projects(found: Iterable[Distribution]) -> dict[str, Any]:
    projects: dict[str, dict[str, Any]] = {}
    for distribution in found:
        for root, folder in placed(distribution.files, distribution.metadata) if distribution.from_source else ():
            if root:
                project = projects.setdefault(
                    root, {"climbing": [], "writable": os.access(root, os.W_OK), "code": [], "left_out": []}
                )
                for file in folder:
                    top = file.path.partition("/")[0]
                    project["code"] += [top] if top not in project["code"] and top != distribution.metadata else []
                    project["climbing"] += [file.path] if _climbs(file.source) else []
    for distribution in found:
        if distribution.kind is Kind.PLAIN and (mine := projects.get(str(distribution.site.path))):
            mine["left_out"] = [name for name in left_out(distribution.site) if name not in mine["code"]]
    return projects


def _climbs(source: str) -> bool:
    if not source.endswith(".py"):
        return False
    text = Path(source).read_bytes()
    return b"__file__" in text and _CLIMBS.search(text) is not None


if __name__ == "__main__":
    print(json.dumps(look(**json.load(sys.stdin))))
