"""Write docs/upgrades.md, what trapd does about each way of upgrading, from the tests: ``python -m docs.upgrades``"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from tests.upgrades.rows import Outcome, Row

FILE = Path(__file__).with_name("upgrades.md")
TESTS = FILE.parents[1] / "tests/upgrades"

HEAD = """# Upgrades: what trapd does about each

Each row is a test in `tests/upgrades`. The test does with the real tool what the row says, while real workers run tasks
all the time, and fails unless trapd does what the row says:

"""

FOOT = """
The column "waits" says how long trapd waits after the tool's end before it starts the first new worker.
`make test-long` runs the rows "on demand", and `make test` all others. This file is made by `python -m docs.upgrades`.
"""

# The title of a part -> the modules with its rows, in this order.
PARTS: Mapping[str, tuple[str, ...]] = {"How code reaches a machine": ("test_pip",)}


def page() -> str:
    """The whole file."""
    parts = [HEAD, *(f"* **{outcome}**: {outcome.meaning}\n" for outcome in Outcome), FOOT]
    for title, names in PARTS.items():
        parts.append(f"\n## {title}\n\n| way | trapd | waits | test |\n|---|---|---|---|\n")
        for name in names:
            module = importlib.import_module(f"tests.upgrades.{name}")
            parts += [_line(name, test, row) for test, row in rows(module)]
    return "".join(parts)


def rows(module: ModuleType) -> Iterator[tuple[str, Row]]:
    """The names of the module's tests, each with the rows that it is run with."""
    for name, test in inspect.getmembers(module, inspect.isfunction):
        for row in getattr(test, "rows", ()):
            yield name, row


def _line(module: str, test: str, row: Row) -> str:
    demand = ", on demand" if row.on_demand else ""
    return f"| {row.way} | {row.outcome} | {row.wait} | [{row.id}](../tests/upgrades/{module}.py){demand} |\n"


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
