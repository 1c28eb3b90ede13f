"""docs/tutorial.md without a server, as a reader does it; tests/nspawn does the other half."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import transcripts
from tests.applications.runs import PATIENCE
from tests.support.daemon import Daemon, Status, pool


@pytest.mark.timeout(120)
def test_the_tutorial_ends_with_a_task_and_its_answer_and_an_upgrade_with_another(
    python: Path, short_path: Path
) -> None:
    folder = short_path / "harbour"
    folder.mkdir()
    daemon = Daemon(folder, celeryconfig="", tables={})
    (folder / "app").symlink_to(python.parents[1])

    def do(heading: str) -> None:
        text = transcripts.section("docs/tutorial.md", heading)
        text = text.replace("/opt/trapd/share/trapd/etc", str(transcripts.ROOT / "etc"))
        text = text.replace("/srv/harbour", str(folder))
        for path, content in transcripts.files(text):
            Path(path).write_text(content)
        if heading == "An upgrade":
            daemon.wait_until("a worker on the new code", on(2), PATIENCE)
        transcripts.play(text, type_in)

    def type_in(command: str) -> str | None:
        first, *words = shlex.split(command)
        if first == "trapd":
            daemon.start()
            daemon.wait_until("trapd", bool, PATIENCE)
        if first != "trapctl":
            return None
        done = daemon.ctl(*words)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    try:
        for heading in ("The application", "On a laptop, without a server", "An upgrade"):
            do(heading)
    finally:
        daemon.stop()


def on(generation: int) -> Callable[[Status], bool]:
    def true(status: Status) -> bool:
        return [one["generation"] for one in pool(status)["instances"]] == [generation]

    return true
