"""Files of environment variables are read as systemd reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.environment_file import parse, read


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB=two words \n", {"A": "1", "B": "two words"}),
        ("# a comment\n; another\n\n  A=1", {"A": "1"}),
        ('A=\'two  words\'\nB="say \\"no\\" \\$5 \\n"', {"A": "two  words", "B": 'say "no" $5 \\n'}),
        ("A=one \\\ntwo\nB=\"one\\\ntwo\"\nC='one\ntwo'", {"A": "one two", "B": "onetwo", "C": "one\ntwo"}),
        ("A=it\\'s\nB=it's\nC='a' \"b\"", {"A": "it's", "B": "it's", "C": "ab"}),
        ("A=\nA=2\nB=$A\r\n", {"A": "2", "B": "$A"}),
        ("URL=redis://:p#w@h/0?a=b", {"URL": "redis://:p#w@h/0?a=b"}),
    ],
)
def test_what_it_says(text: str, found: dict[str, str]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A=1\nexport B=2", "line 2 is not NAME=value"),
        ("A=1\n\nsecret", "line 3 is not NAME=value"),
        ("A='open", "line 1 is not NAME=value"),
        ("NOTIFY_SOCKET=/x", "line 1: NOTIFY_SOCKET is set by trapd itself"),
    ],
)
def test_what_is_no_assignment_is_refused_by_its_line_and_not_shown(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        parse(text)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent")
