"""Asks systemd itself, before it has to, whether it can use what the pools hand to it: names and values."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from trapd.settings import Settings
from trapd.units import directives
from trapd.units.directives import Known, Refusal
from trapd.units.generator import write
from trapd.units.render import POOL_DROP_IN, render

# A template that is good without trapd being installed; what stands in the real one is for its own tests.
_BASE = "[Service]\nExecStart=/bin/true\n"
_COMPLAINT = re.compile(
    rf"/trapd-worker-(?P<pool>\w+)@\.service\.d/{re.escape(POOL_DROP_IN)}:(?P<line>\d+): (?P<why>.*)"
)
_PATIENCE = 20.0  # s; it takes 0.1


def analyse(units: list[Path]) -> str:
    """What ``systemd-analyze verify`` says; nothing if it cannot be run."""
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
) -> list[Refusal]:
    """Every setting of ``[pools.NAME.systemd]`` that would be ignored, by trapd or by systemd. Blocks for 0.1 s.

    Without a systemd here, only what trapd itself can tell.
    """
    known = ask() if any(pool.unit for pool in settings.pools) else {}
    rendered = render(settings, _BASE, known)
    complaints = _complaints(rendered.files, analyse) if known else ()
    return [*rendered.refusals, *complaints]


def _complaints(files: Mapping[str, str], analyse: Callable[[list[Path]], str]) -> Iterator[Refusal]:
    with tempfile.TemporaryDirectory(prefix="trapd-units-") as name:
        folder = Path(name)
        write(files, folder)
        output = analyse([folder / name for name in files if name.endswith(".service")])
    for complaint in _COMPLAINT.finditer(output):
        pool, line = complaint["pool"], int(complaint["line"])
        text = files[f"trapd-worker-{pool}@.service.d/{POOL_DROP_IN}"].splitlines()[line - 1]
        yield Refusal(pool, text.partition("=")[0], f"systemd cannot use it: {complaint['why']}; correct it")
