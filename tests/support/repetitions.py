"""How often the tests that repeat something by chance do so: a little in ``make test``, a lot in ``make test-long``.

Such a test is marked ``long``, and says by ``record_property("times", n)`` how often it was. ``make test-long`` loads
this module into pytest, which then writes what it ran, with the date, into the file that ``--figures`` names.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

LONG = bool(os.environ.get("TRAPD_LONG"))
_HEAD = """# What `make test-long` found

The tests that repeat something by chance (random lives, invented worlds, SIGKILL at any moment) do so a little in
`make test` and a lot in `make test-long`, which wrote this page. A run of some of its tests, as with
`make test-long TESTS=tests/upgrades/test_kills.py`, replaces their rows alone.

| test | times | seconds | outcome | last run |
|---|---|---|---|---|
"""
_ROW = re.compile(r"^\| `([^`]+)` \|")


def times(short: int, long: int) -> int:
    return long if LONG else short


def rows(usual: Sequence[object], more: Sequence[object]) -> list[object]:
    """Parameters of a test that has many: one of each kind is ``usual``, and only ``make test-long`` runs ``more``."""
    long = [pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.long) for row in more]
    return [*usual, *(long if LONG else ())]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, help="file to write the figures of the tests into")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    path: Path | None = config.getoption("--figures")
    if path is None:
        return
    rows: dict[str, tuple[int, float, str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                name = report.nodeid.partition("[")[0].removeprefix("tests/")
                count, seconds, worst = rows.get(name, (0, 0.0, "passed"))
                count += int(dict(report.user_properties).get("times", 1))
                rows[name] = (count, seconds + report.duration, worst if outcome == "passed" else "failed")
    where = f"{datetime.now(UTC).date().isoformat()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    lines = {
        name: f"| `{name}` | {n:,} | {seconds:.0f} | {outcome} | {where} |"
        for name, (n, seconds, outcome) in rows.items()
    }
    write(path, lines)


def write(page: Path, lines: Mapping[str, str]) -> None:
    """Put these rows, by the name of their test, into a page, in place of those that it has of the same tests."""
    there = page.read_text("utf-8").splitlines() if page.exists() else []
    rows = {found[1]: line for line in there if (found := _ROW.match(line))} | dict(lines)
    page.write_text(_HEAD + "".join(f"{rows[name]}\n" for name in sorted(rows)), "utf-8")
