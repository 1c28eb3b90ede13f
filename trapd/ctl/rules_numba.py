"""What `trapctl check` says of numba's cache. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from trapd.ctl.findings import OK, WARNING, Facts, Finding
from trapd.environment import NUMBA_LOCATORS
from trapd.sizes import counted


def numba_cache(facts: Facts) -> Iterator[Finding]:
    about = facts.report.get("numba") or {}
    if not about.get("version"):
        return  # the application does not import numba
    if facts.settings.application.numba_cache == "false":
        yield Finding(OK, f"numba {about['version']} compiles at each start: [app] numba_cache is false")
        return
    if about["problem"]:
        level = WARNING if facts.settings.application.numba_cache == "true" else OK
        what = f"numba {about['version']} compiles at each start: {about['problem']}"
        if level is OK:
            yield Finding(OK, what)
        else:
            remedy = (
                f"unset {NUMBA_LOCATORS}"
                if NUMBA_LOCATORS in about["problem"]
                else "install numba 0.61 or 0.68, which were tried"
            )
            yield Finding(WARNING, what, "starts take longer than they need to", remedy)
        return
    yield Finding(OK, f"numba {about['version']}: the workers keep {counted(about['kept'], 'compiled function')}")
    for name, reason in sorted(about["not_kept"].items()):
        yield Finding(
            WARNING,
            f"numba compiles {name} at each start",
            f"it cannot be kept: {reason}",
            "none is needed; starts take longer",
        )


RULES = (numba_cache,)
