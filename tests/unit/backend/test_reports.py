"""Report files, which tasks can write as well as workers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trapd.backend import reports
from trapd.model import SetAside

REPORT = json.dumps({"pid": 5, "generation": 7, "digest": "d", "versions": {}, "strays": [], "failure": None})


def test_a_report_is_of_one_process(tmp_path: Path) -> None:
    (tmp_path / "report").write_text(REPORT)
    found = reports.read(tmp_path / "report", 5)
    assert found is not None
    assert found.code.generation == 7
    assert reports.read(tmp_path / "report", 6) is None


def test_messages_that_are_set_aside_are_read(tmp_path: Path) -> None:
    told = {"task": "proj.gone", "queue": "q.trapd-parked", "messages": 3, "since": 5.0}
    (tmp_path / "report").write_text(json.dumps({**json.loads(REPORT), "aside": [told]}))
    found = reports.read(tmp_path / "report", 5)
    assert found is not None
    assert found.code.aside == (SetAside("proj.gone", "q.trapd-parked", 3, 5.0),)


def test_what_was_loaded_is_read_and_what_of_that_came_from_the_generation(tmp_path: Path) -> None:
    told = {"loaded": ["numpy", "rope"], "copied": ["rope"], "replaced": ["a=b"]}
    (tmp_path / "report").write_text(json.dumps({**json.loads(REPORT), **told}))
    found = reports.read(tmp_path / "report", 5)
    assert found is not None
    assert (found.code.loaded, found.code.copied, found.code.replaced) == (("numpy", "rope"), ("rope",), ("a=b",))


def test_what_is_no_plain_file_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "report").write_text(REPORT)
    (tmp_path / "link").symlink_to(tmp_path / "report")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "absent", "."):
        assert reports.read(tmp_path / name, 5) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"\0", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", REPORT.replace("5", "1e999").encode()]
    + [REPORT.replace(old, new).encode() for old, new in (("{}", "[]"), ("[]", "1"), ("null", "[1]"), ("7", "1e999"))],
)
def test_what_is_no_report_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "report").write_bytes(text)
    assert reports.read(tmp_path / "report", 5) is None


def test_of_a_file_that_never_ends_only_a_part_is_read(tmp_path: Path) -> None:
    (tmp_path / "report").write_text(REPORT + " " * (2 << 20))
    assert reports.read(tmp_path / "report", 5) is not None
    (tmp_path / "report").write_text(" " * (2 << 20) + REPORT)
    assert reports.read(tmp_path / "report", 5) is None
