"""Ask systemd itself, before the workers start, whether it can use the settings of the pools: names and values."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from trapd.settings import Settings
from trapd.units import directives
from trapd.units.directives import Ignored, Known
from trapd.units.generator import write
from trapd.units.render import POOL_DROP_IN, render

# A template that is valid without trapd being installed; the real template has tests of its own.
_BASE = "[Service]\nExecStart=/bin/true\n"
_COMPLAINT = re.compile(
    rf"/trapd-worker-(?P<pool>\w+)@\.service\.d/{re.escape(POOL_DROP_IN)}:(?P<line>\d+): (?P<why>.*)"
)
_PATIENCE = 20.0  # s; it takes 0.1


def analyse(units: list[Path]) -> str:
    """Return the output of ``systemd-analyze verify``; empty if it cannot be run."""
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr


def faults(
    settings: Settings, ask: Callable[[], Known] = directives.ask, analyse: Callable[[list[Path]], str] = analyse
) -> list[Ignored]:
    """Return every setting of ``[pools.NAME.systemd]`` that trapd or systemd would ignore. Blocks for 0.1 s.

    Without systemd on this machine, only the settings that trapd itself refuses.
    """
    known = ask() if any(pool.unit for pool in settings.pools) else {}
    rendered = render(settings, _BASE, known)
    complaints = _complaints(rendered.files, analyse) if known else ()
    return [*rendered.ignored, *complaints]


def _complaints(files: Mapping[str, str], analyse: Callable[[list[Path]], str]) -> Iterator[Ignored]:
    with tempfile.TemporaryDirectory(prefix="trapd-units-") as name:
        folder = Path(name)
        write(files, folder)
        output = analyse([folder / name for name in files if name.endswith(".service")])
    for complaint in _COMPLAINT.finditer(output):
        pool, line = complaint["pool"], int(complaint["line"])
        text = files[f"trapd-worker-{pool}@.service.d/{POOL_DROP_IN}"].splitlines()[line - 1]
        yield Ignored(pool, text.partition("=")[0], f"systemd cannot use it: {complaint['why']}; correct it")
