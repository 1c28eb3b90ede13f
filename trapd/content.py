"""What is installed: one value for each name in a table of it, and the virtual environment that it lies in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Content:
    """One installed distribution, as a table of what is installed has it; also the interpreter and the celeryconfig."""

    version: str  # empty for the celeryconfig
    digest: str  # of what it consists of, in hex; empty: nobody looked, and the version alone can be compared
    commit: str = field(default="", compare=False)  # of the work tree that it is imported from, in hex
    called: str = field(default="", compare=False)  # as its metadata spells its name; empty: as the table does

    def is_as(self, other: Content | None) -> bool:
        """Whether it is the same, for all that is known of both."""
        if other is None or self.version != other.version:
            return False
        return self.digest == other.digest or not (self.digest and other.digest)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the application's interpreter imports from, of which a generation gets a copy. Paths are absolute, without
    links; places are relative to ``prefix``."""

    prefix: str
    python: str  # name of its interpreter in the folder ``bin``
    sites: Mapping[str, str]  # place -> folder of installed packages, which is copied whole
    hooks: frozenset[str] = frozenset()  # files that lead to editable installs' sources, where copies take their place
    # Of the folders that the system's packages share, what is needed: place -> package, module or metadata there.
    parts: Mapping[str, str] = field(default_factory=dict)
    site: str = ""  # place of the folder that installed packages are first imported from
    virtual: bool = True  # whether the prefix is of a virtual environment; a system's is not copied


def normalise(name: str) -> str:
    """Names of distributions are equal if this is: ``Radio_PySE`` is ``radio-pyse``."""
    return re.sub(r"[-_.]+", "-", name).lower()


# In the same tables as distributions. Names of distributions have no blanks.
INTERPRETER, CELERYCONFIG = "the interpreter", "the celeryconfig"
UNKNOWN = "unknown"  # the version of a distribution that no metadata tells
