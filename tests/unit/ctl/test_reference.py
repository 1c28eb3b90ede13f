"""docs/trapctl.md is what `--help` says."""

from __future__ import annotations

from docs.trapctl_reference import FILE, reference, verbs
from trapd.ctl import main


def test_the_reference_is_current() -> None:
    assert FILE.read_text() == reference(), "run: python -m docs.trapctl_reference"


def test_every_verb_is_in_the_reference() -> None:
    documented = {" ".join(path[1:]) for path, _ in verbs(main.cli)}
    assert main.verbs() <= documented
    assert {"status", "recycle", "rollout undo", "check", "celery"} <= main.verbs()


def test_every_help_begins_with_a_short_sentence() -> None:
    """The list of commands shows it whole."""
    for path, command in verbs(main.cli):
        first = (command.help or "").split("\n")[0]
        assert 10 < len(first) <= 70, (path, first)
        assert first.endswith("."), (path, first)
