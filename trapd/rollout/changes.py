"""What was changed on the disk, and what of it counts: comparisons of the tables of what is installed.

What counts for a generation is what the watched distributions require by metadata, and what its workers have loaded,
required or not. The rest (somebody installs ipython) is told, and recycles nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from trapd.content import CELERYCONFIG, INTERPRETER, Content
from trapd.model import Disk, Generation, Instance

SHOWN = 6  # changes in a sentence; `trapctl generations diff` shows all
ABSENT = "absent"
NO_EFFECT = "not required by what is watched, and loaded by no worker; workers have it after trapctl recycle"
_SHORT = 8  # digits of a commit, as git shows it


@dataclass(frozen=True, slots=True)
class Change:
    """Of one name in a table; None: it is not there."""

    name: str
    before: Content | None
    after: Content | None

    def __str__(self) -> str:
        """``numpy 1.26.4 -> 2.0.1``"""
        before, after = self.before, self.after
        if self.name == CELERYCONFIG:
            return f"{self.name} changed"
        called = next((content.called for content in (after, before) if content and content.called), self.name)
        name = "python " if self.name == INTERPRETER else f"{called} "
        if before is None or after is None or before.version != after.version:
            return f"{name}{_version(before)} -> {_version(after)}"
        if before.commit != after.commit:
            return f"{name}{after.version}, commit {_commit(before)} -> {_commit(after)}"
        return f"{name}{after.version}, other content"


def changes(before: Mapping[str, Content], after: Mapping[str, Content], names: Iterable[str]) -> tuple[Change, ...]:
    """What differs under these names between two tables, by name."""
    found = [Change(name, before.get(name), after.get(name)) for name in sorted(set(names))]
    return tuple(change for change in found if not _same(change.before, change.after))


def between(before: Mapping[str, Content], after: Mapping[str, Content]) -> tuple[Change, ...]:
    """All that differs between two tables, by name."""
    return changes(before, after, {*before, *after})


def since(generation: Generation, disk: Disk) -> tuple[Change, ...]:
    """What counts and is not as it was for the generation, which has a table."""
    before = {**generation.distributions, **generation.loaded}
    return changes(before, disk.distributions, {*generation.required, *disk.required, *generation.loaded})


def apart(one: Generation, other: Generation) -> tuple[Change, ...]:
    """What counts and differs from one generation to another, which both have tables."""
    if not (one.distributions and other.distributions):
        return ()
    before, after = ({**generation.distributions, **generation.loaded} for generation in (one, other))
    return changes(before, after, {*one.required, *other.required, *one.loaded, *other.loaded})


def sentence(found: Collection[Change], first: Collection[str] = ()) -> str:
    """Changes for people, those named ``first`` at the beginning. Empty if there are none."""
    ordered = sorted(found, key=lambda change: (change.name not in first, change.name in _NO_DISTRIBUTION, change.name))
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(str(change) for change in ordered[:SHOWN]) + more


def recognised(disk: Disk, generations: Iterable[Generation]) -> Disk:
    """The disk under the fingerprint of a generation, the first of these that it is as far as it counts; otherwise
    under one that is none of theirs."""
    known = list(generations)
    for generation in known:
        if is_installed(generation, disk):
            return replace(disk, fingerprint=generation.fingerprint)
    # what only workers tell of counts here as well, or two states of the disk would have one name
    others = loaded(known) - set(disk.required)
    if not others:
        return disk
    return replace(disk, fingerprint=_digest(disk.distributions, {*disk.required, *others}))


def is_installed(generation: Generation, disk: Disk) -> bool:
    """Whether what is installed is, as far as it counts, what the generation was made of."""
    if generation.distributions and disk.distributions:
        return not since(generation, disk)
    return generation.fingerprint in (disk.fingerprint, disk.earlier)


def overtaken(disk: Disk, generations: Iterable[Generation], wanted: Collection[int | None]) -> bool:
    """Whether the disk has the name of a wanted generation, and is none since its workers told what they loaded."""
    known = sorted(generations, key=lambda generation: generation.number in wanted, reverse=True)
    named = disk.fingerprint in {g.fingerprint for g in known if g.number in wanted and g.distributions}
    return named and bool(disk.distributions) and recognised(disk, known).fingerprint != disk.fingerprint


def unaffected(before: Disk, after: Disk) -> tuple[Change, ...]:
    """What changed between two looks without a change of anything that counts."""
    if before.fingerprint != after.fingerprint:
        return ()
    return between(before.distributions, after.distributions)


def with_table(generation: Generation, disk: Disk) -> Generation:
    """A generation that an earlier trapd made, with the table of the disk that it is found on."""
    return replace(generation, distributions=disk.distributions, required=disk.required)


def loaded(generations: Iterable[Generation]) -> frozenset[str]:
    """Distributions that workers are known to have loaded."""
    return frozenset(name for generation in generations for name in generation.loaded)


def told(
    generations: Mapping[int, Generation], instances: Iterable[Instance], settled: Disk | None
) -> tuple[Generation, ...]:
    """Those of the generations about which these workers report news. ``settled``: see ``heard``; None: not known."""
    reported: dict[int, tuple[set[str], set[str]]] = {}
    for report in (instance.report for instance in instances if instance.report is not None):
        names, copied = reported.setdefault(report.generation, (set(), set()))
        names.update(report.loaded)
        copied.update(report.copied)
    if settled is None:
        return ()
    known = [(generations[number], *told) for number, told in reported.items() if number in generations]
    return tuple(new for old, names, copied in known if (new := heard(old, names, settled, copied)) is not old)


def heard(
    generation: Generation, reported: Collection[str], settled: Disk, copied: Collection[str] = frozenset()
) -> Generation:
    """The generation with what its workers say to have loaded; the same value if that is no news.

    What the first of them says was loaded of what the generation was made of. So is what is loaded later of those
    that are ``copied``: what is installed by then may be another. Anything else is loaded of what is installed, so that
    for its late import no worker has to be replaced. ``settled``: the last that was.
    """
    if not reported or (generation.heard and generation.loaded.keys() >= set(reported)):
        return generation
    if not generation.heard:
        table = {**settled.distributions, **generation.distributions, **generation.loaded}
        return replace(generation, heard=True, loaded={n: table[n] for n in sorted(reported) if n in table})
    tables = {n: (generation if n in copied else settled).distributions for n in sorted(reported)}
    fresh = {n: table[n] for n, table in tables.items() if n in table}
    both = {**fresh, **generation.loaded}
    return generation if both == dict(generation.loaded) else replace(generation, loaded=both)


_NO_DISTRIBUTION = frozenset({INTERPRETER, CELERYCONFIG})


def _same(before: Content | None, after: Content | None) -> bool:
    return after is None if before is None else before.is_as(after)


def _version(content: Content | None) -> str:
    return ABSENT if content is None else content.version


def _commit(content: Content) -> str:
    return content.commit[:_SHORT] or "none"


def _digest(table: Mapping[str, Content], names: Iterable[str]) -> str:
    there = [(name, table[name]) for name in sorted(names) if name in table]
    text = "\n".join(f"{name}\0{content.version}\0{content.digest}" for name, content in there)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
