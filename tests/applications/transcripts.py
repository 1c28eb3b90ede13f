"""What documents tell readers to type, and what they are told to see: read from their fenced blocks, and run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def section(document: str, heading: str) -> str:
    """The text below a heading, up to the next one of the same level."""
    text = (ROOT / document).read_text()
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def files(text: str) -> Iterator[tuple[str, str]]:
    """Path and content of each file that is shown: its first line is a comment with its path."""
    for _, block in _FENCE.findall(text):
        first, _, rest = block.partition("\n")
        if first.startswith("# /"):
            yield first.removeprefix("# "), rest


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, and what it prints."""
    for language, block in _FENCE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] if language == "console" else ():
            command, _, printed = part.partition("\n")
            yield command, printed


def play(text: str, run: Callable[[str], str | None]) -> None:
    """Run all commands. Where the document shows what is printed, that is what must come; ids are those of the day.

    ``run`` returns what a command printed, or None for one that prints what is of no interest.
    """
    ids: dict[str, str] = {}

    def of_the_day(words: str) -> str:
        return _UUID.sub(lambda found: ids[found[0]], words)

    for command, printed in commands(text):
        came = run(of_the_day(command))
        if not printed or came is None:
            continue
        ids |= dict(zip(_UUID.findall(printed), _UUID.findall(came), strict=True))
        assert came == of_the_day(printed), command
