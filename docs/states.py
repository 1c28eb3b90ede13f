"""Write docs/states.md, what a worker and a rollout may be and become: ``python -m docs.states``"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from trapd.model import InstanceState, RolloutState
from trapd.rollout.instances import GRID, Desire
from trapd.rollout.phases import AFTER, MEANS, USUAL

FILE = Path(__file__).with_name("states.md")

HEAD = """# States of a worker and of a rollout

This file is made by `python -m docs.states`.

## One worker: desired by observed

The table is `GRID` in `trapd/rollout/instances.py`. A row is what trapd wants of a worker, a column the state that the
backend observes, anew at each pass; states are never stored. An absent worker has no column: it is started.

"""

ROLLOUT = """
## A pool's rollout

trapd derives the phase anew at each pass from the observed workers, and records it before it acts; so a rollout that
goes on while trapd is down may skip phases. Each phase is an event as well ([events.md](events.md)); `complete` is
recorded as `finished`, and `failed` as `given-up`. "Paused" is a property of the pool, not a phase.

"""


def page() -> str:
    """The whole file."""
    grid = [[f"**{d}**", *(GRID[d, s] for s in InstanceState)] for d in Desire]
    phases = [[f"`{phase}`", "over" if phase.over else "under way", MEANS[phase]] for phase in RolloutState]
    steps = [[f"`{a}`", f"`{b}`", why] for a, after in AFTER.items() for b, why in after.items()]
    return (
        HEAD
        + _table(["desired \\ observed", *InstanceState], grid)
        + ROLLOUT
        + _table(["phase", "", "means"], phases)
        + "\n"
        + _picture()
        + "\nThe picture shows the usual steps; these are all:\n\n"
        + _table(["from", "to", "when"], steps)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *others = [f"| {' | '.join(row)} |\n" for row in (head, *rows)]
    return "".join([first, "|---" * len(head) + "|\n", *others])


def _picture() -> str:
    """The usual steps as a diagram."""
    lines = ["[*] --> tentative", "[*] --> pending", *(f"{a} --> {b}: {AFTER[a][b]}" for a, b in USUAL)]
    lines += [f"{phase} --> [*]" for phase in RolloutState if any(b is phase and b.over for _, b in USUAL)]
    return "```mermaid\nstateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines) + "```\n"


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
