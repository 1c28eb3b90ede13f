"""docs/upgrades.md says of each upgrade what its test expects, and nothing that is not tested."""

from __future__ import annotations

import importlib

from docs import upgrades as written


def test_the_page_is_as_it_would_be_written_now() -> None:
    """Write it anew with: python -m docs.upgrades"""
    assert written.FILE.read_text() == written.page()


def test_every_test_of_upgrades_is_in_the_page() -> None:
    modules = {name for names in written.PARTS.values() for name in names}
    assert modules == {path.stem for path in written.TESTS.glob("test_*.py")}
    for name in sorted(modules):
        module = importlib.import_module(f"tests.upgrades.{name}")
        tests = {test for test in vars(module) if test.startswith("test_")}
        assert tests == {test for test, _ in written.rows(module)}, f"{name} has a test that is no row"
