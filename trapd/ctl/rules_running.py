"""Findings of `trapctl check` that come from a trapd that runs: its open problems, each with its age."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trapd.ctl.findings import WARNING, Finding
from trapd.ctl.words import since

if TYPE_CHECKING:
    from trapd.control import documents


def findings(status: documents.Status, now: float) -> Iterator[Finding]:
    """``now``: seconds since the epoch. Warnings, since they say nothing against the configuration."""
    for problem in status.get("open_problems", []):  # a trapd from before the upgrade has none
        pool = problem["pool"]
        yield Finding(
            WARNING,
            problem["text"] if pool is None else f"pool {pool}: {problem['text']}",
            f"trapd runs, and has had this problem for {since(problem['since'], now)}",
            f"look at `trapctl why {pool}`" if pool is not None else "look at `trapctl status`",
            since=problem["since"],
        )
