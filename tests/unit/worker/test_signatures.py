"""A digest changes with what a submitter may write, and with nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trapd.worker.signatures import digest, registered


def task(parameters: str) -> Any:
    """As Celery has it: a method that has its instance already."""
    names: dict[str, Any] = {}
    exec(f"class Task:\n def run(self, {parameters}): pass", names)
    return names["Task"]()


def test_values_of_defaults_and_annotations_do_not_count() -> None:
    assert digest(task("a, b=1")) == digest(task("a: int, b: object = None"))


@pytest.mark.parametrize(
    "parameters", ["a, b", "a, c=1", "b=1, a=2", "a, *, b=1", "a, b=1, c=1", "a, b=1, *more", "a, b=1, **more"]
)
def test_another_way_to_call_it_is_another_digest(parameters: str) -> None:
    assert digest(task(parameters)) != digest(task("a, b=1"))


def test_what_has_no_signature_has_no_digest() -> None:
    assert digest(SimpleNamespace(run=3)) == ""


def test_celerys_own_tasks_are_left_out() -> None:
    app = SimpleNamespace(tasks={"proj.add": task("a"), "celery.chord": task("a")})
    assert list(registered(app)) == ["proj.add"]
