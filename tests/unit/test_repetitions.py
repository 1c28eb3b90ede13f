"""The page of figures that `make test-long` writes."""

from __future__ import annotations

from pathlib import Path

from tests.support.repetitions import write


def test_a_run_of_some_tests_replaces_their_rows_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write(
        page, {"b.py::test_b": "| `b.py::test_b` | 2 | 1 | passed | then |", "a.py::test_a": "| `a.py::test_a` | 1 |"}
    )
    before = page.read_text()
    assert before.index("a.py::test_a") < before.index("b.py::test_b")
    write(page, {"b.py::test_b": "| `b.py::test_b` | 300 | 9 | failed | now |"})
    assert page.read_text() == before.replace("| 2 | 1 | passed | then |", "| 300 | 9 | failed | now |")
