"""docs/trapctl.md is what `--help` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from docs.trapctl_reference import FILE, reference, verbs
from trapd.ctl import main
from trapd.ctl import verbs as verbs_package


def test_the_reference_is_current() -> None:
    assert FILE.read_text() == reference(), "run: python -m docs.trapctl_reference"


def test_every_verb_is_in_the_reference() -> None:
    documented = {" ".join(path[1:]) for path, _ in verbs(main.cli)}
    assert {*main.VERBS} <= documented
    assert {"status", "recycle", "rollout undo", "check", "celery"} <= {*main.VERBS}


def test_every_verb_has_a_file_and_every_file_is_a_verb() -> None:
    files = {path.stem for path in Path(verbs_package.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {name.replace(" ", "_") for name in main.VERBS}


def test_only_the_verb_that_is_used_is_imported() -> None:
    code = (
        "import sys; from trapd.ctl.main import main; main(['scale', '--help']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.rpartition(".")[2] for name in done.stderr.split() if name.startswith("trapd.ctl.verbs.")}
    assert loaded == {"scale"}


def test_every_help_begins_with_a_short_sentence() -> None:
    """The list of commands shows it whole."""
    for path, command in verbs(main.cli):
        first = (command.help or "").split("\n")[0]
        assert 10 < len(first) <= 70, (path, first)
        assert first.endswith("."), (path, first)
