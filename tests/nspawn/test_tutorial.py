"""docs/tutorial.md as a service: what it tells to type, and what it tells to see."""

from __future__ import annotations

from pathlib import Path

from tests.applications import transcripts
from tests.nspawn.conftest import Boot
from tests.support.installation import Installation
from tests.support.service import PLACE, Service, redis


def test_the_tutorial_ends_with_a_task_and_its_answer(
    boot: Boot, installation: Installation, environment: Path, tmp_path: Path
) -> None:
    service = Service(boot, installation=installation, environment=environment, broker=redis(), seed=tmp_path / "seed")
    machine = service.machine
    machine.sh(f"mkdir /srv/harbour && ln -s {PLACE} /srv/harbour/app").check()
    for heading in ("The application", "As a service"):
        for path, text in transcripts.files(transcripts.section("docs/tutorial.md", heading)):
            machine.put(path, text)
    machine.sh("chown root:trapd-worker /etc/trapd/celeryconfig.py && chmod 0640 /etc/trapd/celeryconfig.py").check()
    transcripts.play(
        transcripts.section("docs/tutorial.md", "As a service"),
        lambda command: machine.sh(f"PATH=/opt/trapd/bin:$PATH {command}").check(),
    )
