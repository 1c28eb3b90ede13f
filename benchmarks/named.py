"""Words of a command line, of which there may be none."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable


def check(parser: ArgumentParser, kind: str, named: Iterable[str], known: Iterable[str]) -> None:
    """Leave with a word about usage where something is named that nobody knows.

    Not by ``choices``: where ``nargs`` is "*", argparse of Debian 12's Python (3.11.2) holds the default against them.
    """
    if unknown := set(named) - set(known):
        parser.error(f"no such {kind}: {', '.join(unknown)}")
