"""What may be said of a worker's code, and of a worker's health."""

from __future__ import annotations

from typing import Literal

from trapd.model import Ailment, Instance, InstanceState

CodeState = Literal["current", "stale", "mixed", "unknown"]


def code_state(instance: Instance, wanted: int | None) -> CodeState:
    """What the worker has really loaded, against the wanted generation. Without a report never ``current``."""
    report = instance.report
    if report is None:
        return "unknown"
    if report.mixed:
        return "mixed"
    return "current" if report.generation == wanted == instance.id.generation else "stale"


def serves(instance: Instance) -> bool:
    """Ready, and for all that is known its main loop turns."""
    return instance.state is InstanceState.READY and instance.ailment not in (Ailment.STALLED, Ailment.SILENT)


def available_at(instance: Instance, min_ready: float) -> float | None:
    """When a ready instance counts as healthy; None if it is not ready, or cut off: what it can do is not seen then."""
    if instance.state is not InstanceState.READY or instance.ailment is Ailment.CUT_OFF:
        return None
    return (instance.ready_at if instance.ready_at is not None else instance.since) + min_ready


def unproven_because(instance: Instance) -> str:
    """Why a healthy canary's word is not enough; empty if it is: it must have reported the code it was started for."""
    report = instance.report
    if report is None:
        return "it does not say what code it loaded"
    if report.generation != instance.id.generation:
        return f"it loaded generation {report.generation}"
    if report.mixed:
        return f"it loaded code from outside its snapshot: {', '.join(report.strays[:3])}"
    return ""
