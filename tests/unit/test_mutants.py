"""tests/mutants.py names code and tests by their text: it has to keep up with both."""

from __future__ import annotations

import re

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.promise} ({mutant.new[:12]!r})" for mutant in MUTANTS])
def test_what_is_taken_out_is_there_once_and_so_are_its_tests(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text("utf-8").count(mutant.old) == 1
    for test in mutant.tests:
        file, _, function = test.partition("::")
        path = ROOT / "tests" / file
        assert path.exists(), test
        assert not function or re.search(rf"^(async )?def {function}\(", path.read_text("utf-8"), re.MULTILINE), test
