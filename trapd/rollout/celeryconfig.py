"""The celeryconfig, apart from the code: a password that was replaced must not come back with earlier code.

A generation keeps the celeryconfig that it was made with. A copy of its code may get another one: that of the
generation that serves, or the installed one (docs/adr/0028-code-goes-back-passwords-do-not.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from trapd.content import CELERYCONFIG, Content
from trapd.model import Disk, DiskState, Generation, TreeFile
from trapd.rollout import changes

INSTALLED = 0  # in the place of a generation's number: what is installed
FILE = "etc/celeryconfig.py"  # its path among ``Disk.files`` and in each generation


def installed(disk: Disk) -> Content | None:
    """The installed one; None while the disk has not settled, or where no table tells of it."""
    return disk.distributions.get(CELERYCONFIG) if disk.state is DiskState.SETTLED else None


def with_other(generation: Generation, content: Content | None) -> Generation:
    """The generation as a copy of it would be that has this celeryconfig; the same value if it has it already, or if
    nothing can be told."""
    before = generation.distributions.get(CELERYCONFIG)
    if content is None or before is None or before.is_as(content):
        return generation
    table = {**generation.distributions, CELERYCONFIG: content}
    mark = hashlib.sha256(f"{generation.fingerprint}\n{content.digest}".encode()).hexdigest()
    return replace(generation, distributions=table, fingerprint=mark)


def same_code(one: Generation, other: Generation) -> bool:
    """Whether both have the same code, whatever their celeryconfigs are."""
    if not (one.distributions and other.distributions):
        return one.fingerprint == other.fingerprint
    return not changes.changes(_table(one), _table(other), _names(one) | _names(other))


def is_code_of(generation: Generation, disk: Disk) -> bool:
    """Whether the installed code is that of the generation, whatever their celeryconfigs are."""
    if not (generation.distributions and disk.distributions):
        return generation.fingerprint == disk.fingerprint
    return all(change.name == CELERYCONFIG for change in changes.since(generation, disk))


def _table(generation: Generation) -> Mapping[str, Content]:
    return {**generation.distributions, **generation.loaded}


def _names(generation: Generation) -> set[str]:
    return {*generation.required, *generation.loaded} - {CELERYCONFIG}


def of_copy(
    source: int, giver: int | None, generations: Mapping[int, Generation], disk: Disk
) -> tuple[Generation, TreeFile | int | None]:
    """The source as its copy will be, and where the copy has its celeryconfig from; None: from the source.

    ``giver``: the generation whose celeryconfig the copy gets, INSTALLED, or None for its own.
    """
    old = generations[source]
    if giver == INSTALLED:
        changed = with_other(old, installed(disk))
        file = next((file for file in disk.files if file.path == FILE), None)
        if changed is old or file is None:
            return old, None
        mark = disk.fingerprint if is_code_of(old, disk) else changed.fingerprint
        return replace(changed, fingerprint=mark, eager=disk.eager), file
    known = generations.get(giver) if giver is not None else None
    changed = with_other(old, known.distributions.get(CELERYCONFIG)) if known is not None else old
    if known is None or changed is old:
        return old, None
    return replace(changed, eager=known.eager), known.number
