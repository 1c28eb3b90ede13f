"""Sizes of memory and files, and numbers of things, for people."""

from __future__ import annotations


def amount(size: int) -> str:
    """Return a number of bytes as 812K, 312M or 2.5G."""
    if size < 1000 * 2**10:
        return f"{size / 2**10:.0f}K"
    return f"{size / 2**20:.0f}M" if size < 1000 * 2**20 else f"{size / 2**30:.1f}G"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 worker`` or ``3 workers``; ``plural`` where that is not the noun with an s, as in "1 worker is"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
