"""tests/mutants.py names functions, what they use, and tests: it has to keep up with them."""

from __future__ import annotations

import ast
import builtins
import re

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.promise} ({mutant.change.new})" for mutant in MUTANTS])
def test_what_is_taken_out_is_there_once_and_so_are_its_tests(mutant: Mutant) -> None:
    text = mutant.path.read_text("utf-8")
    changed = mutant.applied(text)
    assert changed != text
    if mutant.path.suffix == ".py":
        unknown = names(ast.parse(changed)) - names(ast.parse(text)) - {*dir(builtins), "_"}
        assert not unknown, "the mutant would fail of itself"
    for test in mutant.tests:
        file, _, function = test.partition("::")
        path = ROOT / "tests" / file
        assert path.exists(), test
        assert not function or re.search(rf"^(async )?def {function}\(", path.read_text("utf-8"), re.MULTILINE), test


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.path.suffix == ".py"])
def test_another_layout_and_other_local_names_break_no_mutant(mutant: Mutant) -> None:
    tree = ast.parse(mutant.path.read_text("utf-8"))
    nodes = list(ast.walk(mutant.function(tree)))
    local = {node.arg for node in nodes if isinstance(node, ast.arg)}
    local |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in local:
            node.id += "_renamed"
    mutant.applied(ast.unparse(tree))


def names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
