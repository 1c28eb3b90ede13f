"""Findings of `trapctl check` about units that differ from this trapd.toml, or from this version of trapd."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from trapd.ctl import shipped
from trapd.ctl.findings import ERROR, WARNING, Finding
from trapd.errors import RefusedError
from trapd.settings import Settings, resolve_backend
from trapd.units import current, layout

_UNIT = layout.LOCAL["units"] / "trapd.service"


def findings(settings: Settings) -> Iterator[Finding]:
    """Compare the units; reads a few files. Yields nothing if trapd itself runs the workers."""
    if resolve_backend(settings) != "systemd":
        return
    reason = "until then trapd or its workers cannot start, or start with other settings"
    try:
        yield from (Finding(ERROR, gap.what, reason, gap.remedy) for gap in current.gaps(settings))
        if outdated := list(_of_another_trapd()):
            what = f"{', '.join(map(str, outdated))}: not of this version of trapd"
            reason = "trapd was installed anew, and its units are of the version before"
            yield Finding(WARNING, what, reason, "run `trapctl install`, then `systemctl restart trapd`")
    except (OSError, RefusedError) as error:
        yield Finding(WARNING, f"cannot compare the units: {error}", "they may be of another trapd.toml", "try again")


def _of_another_trapd(unit: Path = _UNIT) -> Iterator[Path]:
    """Yield the files that `trapctl install` of this trapd would write anew."""
    bindir = Path(sys.executable).parent
    if f"\nExecStart={bindir}/trapd\n" not in (current.text(unit) or ""):
        return  # the units of a package, or of another installation
    for file in layout.placed(shipped.source() / "systemd", bindir, layout.LOCAL):
        if current.text(file.path) != file.text:
            yield file.path
