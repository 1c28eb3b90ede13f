"""The index of the documents, and the glossary: each has everything, once, and in its place."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
KINDS = ["Tutorial: to learn", "How-to: to get something done", "Reference: to look something up"]
KINDS += ["Explanation: to understand"]


def rows() -> list[tuple[str, str, str]]:
    """Word, meaning and place in the code."""
    found = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([^`|]+)` \|$", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(found) > 30
    return found


def test_each_document_is_in_the_index_once_under_one_of_four_kinds() -> None:
    text = (DOCS / "README.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == KINDS
    links = re.findall(r"\]\((\w+\.md)\)", text)
    assert sorted(links) == sorted(page.name for page in DOCS.glob("*.md") if page.name != "README.md")


def test_the_glossary_has_each_word_once_in_order_with_its_place_in_the_code() -> None:
    words = [word for word, _, _ in rows()]
    assert words == sorted(set(words))
    for _, _, place in rows():
        module, _, name = place.rpartition(".")
        if name[0].isupper():
            assert hasattr(importlib.import_module(module), name), place
        else:
            importlib.import_module(place)


def test_a_class_of_the_glossary_stands_for_one_word() -> None:
    classes = [place for _, _, place in rows() if place.rpartition(".")[2][0].isupper()]
    assert len(classes) == len(set(classes))


def test_each_contract_has_a_word() -> None:
    """What the middle of trapd requires of its edges is what a reader meets first."""
    tree = ast.parse((DOCS.parent / "trapd/contracts.py").read_text())
    contracts = {f"trapd.contracts.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"trapd.contracts.History", "trapd.contracts.Backend"} <= contracts
    assert contracts <= {place for _, _, place in rows()}
