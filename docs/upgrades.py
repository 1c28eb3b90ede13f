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
The column "waits for" says for what trapd waits after the tool's end before it starts the first new worker. Where trapd
waits for nothing, no old worker is told to go before `quiet_period` is over: if anything else is installed until then,
the start is taken back. A dash: nothing is started, or the test does not ask. The column "says" has the words by which
`trapctl status` names what is wrong, or `trapctl why` what changed.

`make test-long` runs the rows "on demand", and `make test` all others. This file is made by `python -m docs.upgrades`.
"""

# The title of a part, and what its third column has -> the modules with its rows, in this order.
PARTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("How code reaches a machine", "waits for"): (
        "test_pip",
        "test_uv",
        "test_apt",
        "test_rebuilt",
        "test_trees",
        "test_editors",
        "test_links",
        "test_on_demand",
    ),
    ("How an installation goes wrong", "says"): ("test_damage", "test_dpkg", "test_kills", "test_kills_at_work"),
    ("New code that does not run, or does odd things", "says"): ("test_broken_code",),
}
STAND_INS = {"old": "1.0", "new": "2.0", "site": "SITE-PACKAGES", "python": "PYTHON", "pid": "N"}


def page() -> str:
    """The whole file."""
    parts = [HEAD, *(f"* **{outcome}**: {outcome.meaning}\n" for outcome in Outcome), FOOT]
    for (title, column), names in PARTS.items():
        parts.append(f"\n## {title}\n\n| way | trapd | {column} | test |\n|---|---|---|---|\n")
        for name in names:
            module = importlib.import_module(f"tests.upgrades.{name}")
            parts += [_line(name, row, column) for _, row in rows(module)]
    return "".join(parts)


def rows(module: ModuleType) -> Iterator[tuple[str, Row]]:
    """The names of the module's tests, each with the rows that it is run with."""
    for name, test in inspect.getmembers(module, inspect.isfunction):
        for row in getattr(test, "rows", ()):
            yield name, row


def _line(module: str, row: Row, column: str) -> str:
    demand = ", on demand" if row.on_demand else ""
    third = row.wait if column == "waits for" else _words(row)
    return f"| {row.way} | {row.outcome} | {third} | [{row.id}](../tests/upgrades/{module}.py){demand} |\n"


def _words(row: Row) -> str:
    if row.outcome is Outcome.UNCHANGED:
        return "-"
    return row.reason.format(**STAND_INS).strip(" ;") or "-"


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
