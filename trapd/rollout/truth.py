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


def well(instance: Instance) -> bool:
    """Nothing keeps it from serving. One that has outgrown its memory serves until another takes its place."""
    return instance.ailment in (None, Ailment.OUTGROWN)


def serves(instance: Instance) -> bool:
    """Ready, and for all that is known its main loop turns, and it takes tasks if its broker is there."""
    return instance.state is InstanceState.READY and (well(instance) or instance.ailment is Ailment.CUT_OFF)


def healthy_at(instance: Instance, min_ready: float) -> float | None:
    """When a ready instance may count as healthy; None if it is not ready."""
    if instance.state is not InstanceState.READY:
        return None
    return (instance.ready_at if instance.ready_at is not None else instance.since) + min_ready


def available(instance: Instance, min_ready: float, now: float) -> bool:
    """Was it ready for min_ready, and was its main loop seen to turn after that? To be ready for so long is not enough:
    one that blocks its loop a moment after READY is ready until its watchdog ends it."""
    at = healthy_at(instance, min_ready)
    return at is not None and at <= now and well(instance) and (instance.alive_at or 0.0) >= at


def unfit_because(instance: Instance) -> str:
    """Why a worker is not available, or its word not enough, in words that follow its name."""
    if instance.state is InstanceState.FAILED and instance.failure is not None:
        return f"failed ({instance.failure.summary})"
    if instance.state is not InstanceState.READY or instance.ailment in (
        Ailment.STALLED,
        Ailment.CUT_OFF,
        Ailment.IDLE,
    ):
        return f"is {instance.state}" + (f" ({instance.status})" if instance.status else "")
    if instance.ailment is Ailment.SILENT:
        return "gives no sign of life"
    return unproven_because(instance) or "was not seen to turn its main loop for min_ready"


def unproven_because(instance: Instance) -> str:
    """Why a healthy canary's word is not enough; empty if it is: it must have reported the code it was started for."""
    report = instance.report
    if report is None:
        return "it does not report which code it loaded"
    if report.generation != instance.id.generation:
        return f"it loaded generation {report.generation}"
    if report.replaced:
        return f"it loaded modules of a newer state beside older ones: {', '.join(report.replaced[:3])}"
    if report.mixed:
        return f"it loaded code from outside its snapshot: {', '.join(report.strays[:3])}"
    return ""
