"""Files of environment variables, as systemd's EnvironmentFile= reads them (systemd.exec(5)). Standard library only.

The program that starts a process reads the file at that time; the values are not stored anywhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from trapd.environment import BACKENDS_OWN

_QUOTED = r"""(?:[ \t]*(?:'[^']*'|"(?:\\.|[^"\\])*"))*"""
_LINE = re.compile(
    rf"""[ \t]*(?:
        [\#;][^\n]*
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<quoted>{_QUOTED})[ \t]*(?!['"])(?P<plain>(?:\\.|[^\n\\])*)
    )?[ \t\r]*(?:\n|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_PIECE = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)\"""", re.DOTALL)


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file. Raises OSError, and ValueError with the number of a line that is no
    assignment."""
    text = path.read_text("utf-8")
    if "\0" in text:
        raise ValueError("it holds a NUL")
    return parse(text)


def parse(text: str) -> dict[str, str]:
    """Parse lines of ``NAME=value``; comments begin with # or ; and a backslash at the end joins a line with the next.

    Quotes keep white space and line breaks. Nothing is expanded. Raises ValueError.
    """
    variables: dict[str, str] = {}
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        number = text.count("\n", 0, at) + 1
        if line is None:  # the message does not show the text: it may be a password
            raise ValueError(f"line {number} is not NAME=value")
        if name := line["name"]:
            if name in BACKENDS_OWN:
                raise ValueError(f"line {number}: {name} is set by trapd itself")
            variables[name] = _value(line["quoted"], line["plain"])
        at = line.end()
    return variables


def _value(quoted: str, plain: str) -> str:
    pieces = [
        piece[1] if piece[1] is not None else re.sub(r'\\(["\\`$\n])', _literally, piece[2])
        for piece in _PIECE.finditer(quoted)
    ]
    return "".join(pieces) + re.sub(r"\\(.)", _literally, plain.rstrip(" \t\r"), flags=re.DOTALL)


def _literally(escaped: re.Match[str]) -> str:
    return "" if escaped[1] == "\n" else escaped[1]
