"""The import contracts, the picture of the rings and the list of what to read first agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

from docs import rings

ROOT = Path(__file__).parents[2]
DESIGN = rings.FILE.read_text("utf-8")


def ring_of(file: str) -> int:
    """Counted from the highest."""
    name = Path(file).relative_to("trapd").parts[0].removesuffix(".py")
    return next(number for number, names in enumerate(rings.layers("layers")) if name in names)


def test_the_picture_shows_the_contracts() -> None:
    """Draw it anew with: python -m docs.rings"""
    assert rings.page(DESIGN) == DESIGN


def test_every_name_in_a_ring_is_there() -> None:
    """A layer in parentheses may be missing, says import-linter: not here."""
    for names in rings.layers("layers"):
        for name in names:
            assert (ROOT / f"trapd/{name}.py").is_file() or (ROOT / f"trapd/{name}/__init__.py").is_file(), name


def test_the_five_to_read_are_there_and_go_up_ring_by_ring() -> None:
    section = DESIGN.partition("## Read these five")[2].partition("\n## ")[0]
    first = re.findall(r"^\d\. `(trapd/[\w/]+\.py)`", section, re.MULTILINE)
    assert len(first) == 5
    assert all((ROOT / file).is_file() for file in re.findall(r"`(trapd/[\w/]+\.py)`", section))
    numbers = [ring_of(file) for file in first]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 5, "one of each ring"


def test_what_decides_is_below_what_acts_and_is_in_the_contract_of_the_pure() -> None:
    """Everything from ``rollout`` down is pure, but for what names itself here."""
    effects = {
        "access": "looks at the rights of files",
        "asyncio_without_ssl": "imports asyncio",
        "atomic": "writes files",
        "environment": "asks for our process id",
        "environment_file": "reads a file",
        "file_stamp": "reads files",
        "folders": "looks at single files",
        "first_process": "is PID 1 of a container",
        "heap": "calls the C library",
        "layout": "joins paths",
        "locks": "reads who holds them",
        "mount_table": "reads it",
        "memory_events": "reads the kernel's files",
        "peer": "asks the kernel",
        "process_stat": "reads /proc",
        "task_table": "maps a file",
        "python_version": "asks an interpreter for its version",
        "migrations": "is the history's, and has its database",
    }
    configuration = (ROOT / "setup.cfg").read_text()
    pure = configuration.partition("[importlinter:contract:pure]")[2].partition("forbidden_modules")[0]
    below = rings.layers("layers")[ring_of("trapd/rollout/plan.py") :]
    for name in [name for names in below for name in names]:
        assert (f"    trapd.{name}\n" in pure) != (name in effects), name
