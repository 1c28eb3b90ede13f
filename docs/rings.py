"""Draw the rings of docs/design.md from the import contracts of setup.cfg: ``python -m docs.rings``"""

from __future__ import annotations

import re
import textwrap
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("design.md")
NOTES = {
    "demo": "`make run`, outside the package",
    "ctl": "trapctl",
    "worker": "in the Celery process",
    "distribute": "Trap's tasks",
}
_PICTURE = re.compile(r"(?<=```text\n)(?:demo\b).*?(?=```\n)", re.DOTALL)
_WIDTH = 110


def layers(contract: str) -> list[list[str]]:
    """The layers of a contract, the highest first: the names in each."""
    configuration = ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    lines = configuration[f"importlinter:contract:{contract}"]["layers"].split("\n")
    return [[name.strip(" ()") for name in line.split("|")] for line in lines if line.strip()]


def rings() -> list[list[str]]:
    """Everything in the package, and above it what is not."""
    outside = [names for names in layers("demonstration") if names != ["trapd"]]
    return outside + layers("layers")


def picture() -> str:
    """A ring a line, or more where it has many."""
    lines = []
    for names in rings():
        noted = [f"{name} ({NOTES[name].replace('`', '')})" if name in NOTES else name for name in names]
        glued = "   ".join(name.replace(" ", "\0") for name in noted)
        lines += textwrap.wrap(glued, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "".join(f"{line}\n" for line in lines).replace("\0", " ")


def page(text: str) -> str:
    """The document with today's picture in the place of the one that it has."""
    drawn, count = _PICTURE.subn(lambda _: picture(), text)
    if count != 1:
        raise ValueError(f"cannot draw the rings in {FILE}: it has {count} pictures that begin with demo")
    return drawn


if __name__ == "__main__":
    FILE.write_text(page(FILE.read_text("utf-8")), "utf-8")
