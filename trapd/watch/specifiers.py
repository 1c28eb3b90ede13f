"""Run as a script by trapd's own interpreter: which requirements are satisfied. Nothing but ``packaging`` and the
standard library.

Reads an object as JSON: ``markers`` of the application's interpreter, ``roots`` (names), and ``distributions`` by
normalised name, each with its ``version`` and the Requires-Dist lines that it ``requires``. Prints another object: the
list ``satisfied`` ("held requires depa"), and ``unsatisfied``, a sentence under each such key. Lines that cannot be
understood are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


def check(question: Mapping[str, Any]) -> dict[str, Any]:
    distributions, markers = question["distributions"], question["markers"]
    satisfied: set[str] = set()
    unsatisfied: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(str(name), "") for name in question["roots"]]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done or name not in distributions:
            continue
        done.add((name, extra))
        for wanted in _wanted(distributions[name]["requires"], {**markers, "extra": extra}):
            other = canonicalize_name(wanted.name)
            pair = f"{name} requires {other}"
            if why := _fault(wanted, distributions.get(other)):
                unsatisfied[pair] = f"{name} requires {wanted.name}{wanted.specifier}, {why}"
            else:
                satisfied.add(pair)
            waiting += [(other, extra) for extra in ("", *wanted.extras)]
    return {"satisfied": sorted(satisfied - unsatisfied.keys()), "unsatisfied": unsatisfied}


def _wanted(lines: list[str], environment: dict[str, str]) -> Iterator[Requirement]:
    for line in lines:
        try:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate(environment):
                yield wanted
        except (InvalidRequirement, ValueError):
            continue


def _fault(wanted: Requirement, installed: Mapping[str, Any] | None) -> str:
    if installed is None:
        return "which is not installed"
    try:
        fits = wanted.specifier.contains(Version(installed["version"]), prereleases=True)
    except InvalidVersion:
        return ""
    return "" if fits else f"but {installed['version']} is installed"


if __name__ == "__main__":
    json.dump(check(json.load(sys.stdin)), sys.stdout)
