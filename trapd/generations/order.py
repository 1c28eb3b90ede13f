"""One piece of work on generations, as it is handed to the process that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAKING, REMOVING, COMPILING = ".making-", ".removing-", ".compiling-"  # how folders begin whose work is not over
AHEAD = ".ahead-"  # links for the next generation, made ahead
Tell = Callable[[int], None]  # how many bytes are to be copied


@dataclass(frozen=True, slots=True)
class Order:
    """``act`` is a method of ``maker.Maker``. ``present``: the numbers of the complete generations."""

    act: str
    directory: str
    present: frozenset[int]
    arguments: tuple[Any, ...]
    what: str  # for people: "make generation 7"
    by: int = 0  # the process that waits for it
