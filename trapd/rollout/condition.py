"""How whole an environment was when the code that is wanted was installed: what was so already holds nothing back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from trapd.content import CELERYCONFIG, INTERPRETER, UNKNOWN
from trapd.model import Disk, Generation, PoolState


@dataclass(frozen=True, slots=True)
class Condition:
    """``satisfied``: requirements that were, as "held requires depa". ``altered``: marks of distributions whose files
    were not as recorded. ``described``: normalised names of distributions that had metadata."""

    satisfied: frozenset[str]
    altered: frozenset[str]
    described: frozenset[str] = frozenset()


def condition(made_of: Disk | Generation) -> Condition | None:
    """That of one environment; None where nobody looked: a trapd made the generation that did not ask."""
    if made_of.satisfied is None:
        return None
    described = (name for name, content in made_of.distributions.items() if content.version != UNKNOWN)
    return Condition(
        frozenset(made_of.satisfied), frozenset(made_of.altered), frozenset(described) - {INTERPRETER, CELERYCONFIG}
    )


def met(generation: Generation, disk: Disk) -> Generation:
    """A generation as it is found on the disk: how whole that is now is how whole it was, for what comes later."""
    if disk.satisfied is None:
        return generation
    return replace(generation, satisfied=disk.satisfied, altered=disk.altered)


def wanted(states: Iterable[PoolState], generations: Mapping[int, Generation]) -> Condition | None:
    """That of all generations that pools want: satisfied and described in each, altered in any. None if nothing is
    wanted yet, or if it is not known of one of them."""
    numbers = {state.wanted for state in states if state.wanted in generations}
    known = [condition(generations[number]) for number in sorted(n for n in numbers if n is not None)]
    there = [one for one in known if one is not None]
    if not there or len(there) < len(known):
        return None
    return Condition(
        frozenset.intersection(*(one.satisfied for one in there)),
        frozenset.union(*(one.altered for one in there)),
        frozenset.intersection(*(one.described for one in there)),
    )
