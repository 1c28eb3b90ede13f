"""A trapd.toml that was saved and not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.settings import load
from trapd.settings.saved import Saved

TOML = """[app]
app = "trap.app:app"
python = "/opt/app/bin/python"
[pools.default]
workers = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "trapd.toml").write_text(TOML)
    return tmp_path / "trapd.toml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOML, ""),
        (f"# a comment\n{TOML}", ""),
        (
            TOML.replace("2", "3"),
            "was saved after trapd had read it, and is not in force; reload trapd, or send it SIGHUP",
        ),
        (TOML.replace("2", "-2"), "and a reload would refuse it"),
        (f'{TOML}environment = "amqp://trap:s3cret@h//"\n', "amqp://trap:***@h//"),
    ],
)
def test_what_is_saved_and_means_something_else_is_a_problem_until_it_is_loaded_or_taken_back(
    file: Path, text: str, words: str
) -> None:
    saved = Saved(load(file))
    file.write_text(text)
    said = saved.problem()
    assert words in said
    assert bool(words) is bool(said)
    assert saved.problem() == said
    file.write_text(TOML)
    assert saved.problem() == ""


def test_a_file_that_is_gone_is_a_problem(file: Path) -> None:
    saved = Saved(load(file))
    file.unlink()
    assert "no such file" in saved.problem()
