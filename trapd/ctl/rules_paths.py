"""Rules of `trapctl check` for the installed code, as the watch sees it, and for the files beside it. Pure.

``facts.report["disk"]`` is the answer of trapd/watch/once.py; without an answer there are no findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trapd.ctl.findings import ERROR, OK, WARNING, Facts, Finding, Rule

_CORRECT = "install it there, or correct [watch] distributions or [app] python in {file}"


def distributions(facts: Facts) -> Iterator[Finding]:
    """Report whether each watched distribution is installed, and complete."""
    disk, python = _disk(facts), facts.settings.application.python
    if not disk:
        return
    for name in facts.settings.watch.distributions:
        distribution = disk["distributions"].get(name)
        if distribution is None:
            continue
        if distribution["kind"] == "plain":
            yield Finding(OK, f"{name} is in {distribution['place']}, without metadata; its version is not known")
        elif distribution["kind"] == "editable":
            yield Finding(OK, f"{name} {distribution['version']} is installed for {python}, in editable mode")
        else:
            yield Finding(OK, f"{name} {distribution['version']} is installed for {python}")
    if disk["answered"]:  # otherwise the import of the application reports the same about the interpreter
        yield from _faults(facts, disk)


def _faults(facts: Facts, disk: Mapping[str, Any]) -> Iterator[Finding]:
    absent = [name for name in facts.settings.watch.distributions if name not in disk["distributions"]]
    for name in absent if "archive" not in disk["reason"] else ():
        yield Finding(
            ERROR,
            f"{name} is not installed for {facts.settings.application.python}",
            "it is named in [watch] distributions: nothing can be rolled out without it",
            _CORRECT.format(file=facts.settings.file),
        )
    reported = disk["reason"] == disk["problem"] or (absent and "archive" not in disk["reason"])  # above, or elsewhere
    if disk["state"] != "whole" and not reported:
        why, _, remedy = disk["reason"].partition("; ")
        word = "not finished" if disk["state"] == "unfinished" else "broken"
        yield Finding(ERROR, f"the installed code is {word}, so it is not rolled out", why, remedy)


def warnings(facts: Facts) -> Iterator[Finding]:
    """Warn about faults that hold nothing back because the wanted generation already had them."""
    for sentence in _disk(facts).get("warnings", ()):
        why, _, remedy = sentence.partition("; ")
        yield Finding(
            WARNING,
            why,
            "this holds nothing back, unless the wanted code was installed without this fault",
            remedy or "install versions that fit each other",
        )


def shadows(facts: Facts) -> Iterator[Finding]:
    """Warn about code that plain `celery worker` would run, and that workers of trapd do not."""
    for shadow in _disk(facts).get("shadows", ()):
        reason = f"{shadow['reason']}; plain `celery worker`, and this check, import what is in that folder"
        yield Finding(WARNING, shadow["what"], reason, f"in {facts.settings.file}, {shadow['remedy']}")


def pins(facts: Facts) -> Iterator[Finding]:
    """Warn about a distribution that a watched one pins to one version, and that is not copied itself."""
    for pin in _disk(facts).get("pins", ()):
        yield Finding(
            WARNING,
            f"{pin['by']} requires exactly {pin['name']} {pin['version']}, which is not watched",
            f"a worker reads {pin['name']} where it is installed: after an undo or an upgrade of {pin['by']} alone, "
            f"{pin['name']} has another version than that code requires",
            f'add "{pin["name"]}" to [watch] distributions in {facts.settings.file}',
        )


def surroundings(facts: Facts) -> Iterator[Finding]:
    """Report what differs for a program that looks for its files from __file__."""
    for root, project in _disk(facts).get("projects", {}).items():
        code = ", ".join(project["code"][:4]) + (", ..." if project["code"][4:] else "")
        yield Finding(OK, f"{code} in {root} is copied into each generation; everything else there is a link to it")
        for name in project["left_out"]:
            yield Finding(
                WARNING,
                f"{name} in {root} holds Python code that is neither copied nor watched",
                "it has no __init__.py, or more than 64 MiB: workers read it where it is, whatever version lies there, "
                "and a change of it recycles no worker",
                f'add "{name}" to [watch] distributions in {facts.settings.file}, if workers import it',
            )
        if project["climbing"] and project["writable"]:
            yield Finding(
                WARNING,
                f"{project['climbing'][0]} looks for files from __file__, and workers cannot make new files in {root}",
                "workers see a copy of that folder, with links to the files that were there when the generation was "
                "made; a path that they compute names the generation, which is deleted later",
                "make the folders that tasks write to before trapd starts, or run trapctl recycle when they are there; "
                "store relative paths",
            )


def noexec(facts: Facts) -> Iterator[Finding]:
    """Report a state directory from which no shared object can be loaded, if shared objects are copied there."""
    if _disk(facts).get("environment") and facts.report.get("noexec"):
        yield Finding(
            ERROR,
            f"the file system of {facts.settings.state_directory} is mounted with noexec",
            "no shared object can be loaded from a copy of the environment there, so nothing is rolled out",
            'mount it without noexec, change [trapd] state_directory, or set [watch] snapshot = "distributions" in '
            f"{facts.settings.file}",
        )


def unsealed(facts: Facts) -> Iterator[Finding]:
    if why := facts.report.get("unsealed"):
        what, _, remedy = why.partition("; ")
        yield Finding(WARNING, what, "the next generation does not have the files that a task writes there", remedy)


def _disk(facts: Facts) -> Mapping[str, Any]:
    disk: Mapping[str, Any] = facts.report.get("disk", {})
    return disk


RULES: tuple[Rule, ...] = (distributions, warnings, shadows, pins, noexec, surroundings, unsealed)
