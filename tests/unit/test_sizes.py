"""Numbers of things in messages: one of them is no plural."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import trapd
from trapd.sizes import counted

PACKAGE = Path(trapd.__file__).parent
THINGS = "distribution|error|file|function|generation|image|message|module|pool|process|revoke|task|time|warning|worker"
PLURAL = re.compile(rf" (?:(?!of )\w+ )?(?:{THINGS})(?:s|es)\b")
EITHER = re.compile(rf"(?:%d (?:\w+ )?(?:{THINGS})(?:s|es)?|(?:{THINGS})\(s\))")
MANY = {  # the number is never 1 there
    "trapd/rollout/verdict.py": " times in a row (",
    "trapd/ctl/rules_settings.py": " workers although max_surge = 0: ",
    "trapd/ctl/celery_rules.py": " tasks (",
    "trapd/settings/__init__.py": " workers of a singleton",
}


def plurals(file: Path) -> Iterator[str]:
    """Texts that make a plural of a number that may be 1. "0 of 1 workers" is a share, and no number of workers."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            before = ""
            for part, after in pairwise(node.values):
                before = _text(part) or before
                if _text(part) == "" and PLURAL.match(_text(after)) and not before.endswith(" of "):
                    yield _text(after)
        elif found := EITHER.search(_text(node)):
            yield found[0]


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 workers are"), (1, "1 worker is"), (2, "2 workers are"), (21, "21 workers are")]
)
def test_one_is_no_plural(number: int, words: str) -> None:
    assert counted(number, "worker is", "workers are") == words
    assert counted(number, "worker") == words.rpartition(" ")[0]


def test_no_message_says_1_workers() -> None:
    found = {
        (name, text)
        for file in sorted(PACKAGE.rglob("*.py"))
        for name in [str(file.relative_to(PACKAGE.parent))]
        for text in plurals(file)
        if not (name in MANY and text.startswith(MANY[name]))
    }
    assert found == set()
