"""The program that compiles, where trapd's unit lets nobody change a priority."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from trapd.generations import compile_files


def test_it_compiles_also_where_it_may_not_be_nice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SystemCallFilter=~@resources answers EPERM to setpriority(2)."""

    def refused(increment: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "code.py").write_text("x = 1\n")
    job = {
        "folder": str(tmp_path),
        "sources": ["code.py"],
        "levels": [0],
        "there": [],
        "target": str(tmp_path / "made"),
    }
    monkeypatch.setattr(os, "nice", refused)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(job)))
    compile_files.main()
    assert [path.suffix for path in (tmp_path / "made").rglob("*.*")] == [".pyc"]
