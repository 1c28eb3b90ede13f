"""What trapctl makes of its options."""

from __future__ import annotations

from typing import Any

import click
import pytest

from trapd.ctl import main
from trapd.ctl.verbs import recycle


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90.0), ("1.5", 1.5), ("90s", 90.0), ("10m", 600.0), ("1h30min", 5400.0)]
)
def test_a_timeout_is_written_as_in_trapd_toml_or_in_seconds(
    monkeypatch: pytest.MonkeyPatch, text: str, value: float
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(recycle, "roll", lambda session, verb, **options: asked.update(options))
    main.cli.main(["recycle", "--timeout", text], standalone_mode=False)
    assert asked["timeout"] == value


@pytest.mark.parametrize(
    ("text", "words"),
    [("soon", "'soon' is no duration"), ("1h30", "'1h30' is"), ("..", "no"), ("9" * 9 + "d", "century")],
)
def test_a_timeout_that_cannot_be_used_is_refused_with_examples(text: str, words: str) -> None:
    with pytest.raises(click.BadParameter, match=f'{words}.*; write one such as "500ms"'):
        main.cli.main(["recycle", "--timeout", text], standalone_mode=False)
