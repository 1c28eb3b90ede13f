"""A look at an application in a virtual environment, as trapd's watch takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.fake_controller import RealClock
from trapd.model import Disk, DiskState
from trapd.settings.document import trust
from trapd.watch import Watch


def look(
    python: Path,
    celeryconfig: Path,
    snapshot: str,
    environment: Mapping[str, str] = {},
    distributions: Sequence[str] = ("trap",),
) -> Disk:
    """What is installed; it has to be settled. ``snapshot`` and ``distributions``: as in ``[watch]``; ``environment``:
    of the workers."""

    async def ignore(disk: Disk) -> None:
        pass

    async def main() -> Disk:
        watch = Watch(
            python=python,
            celeryconfig=celeryconfig,
            distributions=distributions,
            snapshot=snapshot,
            environment=environment,
            quiet_period=2,
            ceiling=120,
            clock=RealClock(),
            on_disk=ignore,
            trust=trust,
        )
        return await watch.look()

    disk = asyncio.run(main())
    assert disk.state is DiskState.SETTLED, disk.reason
    return disk
