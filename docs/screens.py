"""Write docs/screens.md, the screens of trapctl at three widths, from stored documents: ``python -m docs.screens``"""

from __future__ import annotations

import io
import json
import os
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapd.ctl.render import Bars, Screen
from trapd.ctl.verbs import generations, rollout_history, status

FILE = Path(__file__).with_name("screens.md")
FOLDER = Path(__file__).with_name("answers")
WIDTHS = (40, 80, 120)
NOW = 1764273600.0  # the moment at which the documents were answered

HEAD = """# Screens

This page shows the screens of `trapctl` on terminals of 40, 80 and 120 columns. Nothing is cut off: a table that does
not fit becomes a few lines for each row, and a long sentence continues on the next line. In a pipe no line is broken.
`python -m docs.screens` makes this file from the documents in docs/answers, and a test compares.
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A screen: its command, the document that it is made from, and a sentence about it."""

    command: str
    document: str
    definition: str
    story: str
    show: Callable[[Screen, Any], None]


def _bars(screen: Screen, progress: Any) -> None:
    Bars(screen).progress(progress)


SCREENS = (
    Shown(
        "trapctl status",
        "rolling",
        "Status",
        "In the middle of a rollout: for how long, from which version to which, what the rollout waits for, what comes "
        "next. A worker that was started again shows the cause; code that is installed and does not run is a problem.",
        lambda screen, document: status.show(screen, document, NOW),
    ),
    Shown(
        "trapctl status",
        "trouble",
        "Status",
        "Something is wrong: a rejected upgrade with its traceback, a broken installation, a worker that was killed.",
        lambda screen, document: status.show(screen, document, NOW),
    ),
    Shown(
        "trapctl recycle",
        "progress",
        "Progress",
        "While a command waits. The bar is full when the rollout waits for nothing any more: not while an old worker "
        "drains.",
        _bars,
    ),
    Shown("trapctl rollout history", "history", "Rollouts", "Newest first.", rollout_history.show),
    Shown("trapctl generations", "generations", "Generations", "The generations that are kept.", generations.show),
)


def load(shown: Shown) -> Mapping[str, Any]:
    """Return the stored document."""
    document: Mapping[str, Any] = json.loads((FOLDER / f"{shown.document}.json").read_text())
    return document


def render(shown: Shown, width: int) -> str:
    """Return the screen on a terminal of this number of columns, without colours, with times in UTC."""
    stream = io.StringIO()
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        shown.show(Screen(stream, width=width), load(shown))
    finally:
        os.environ.pop("TZ")
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()
    return stream.getvalue()


def page() -> str:
    """Return the text of docs/screens.md."""
    parts = [HEAD]
    for shown in SCREENS:
        parts.append(f"\n## `{shown.command}`: {shown.document}\n\n{textwrap.fill(shown.story, 120)}\n")
        parts += [f"\n{width} columns:\n\n```text\n{render(shown, width)}```\n" for width in reversed(WIDTHS)]
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(page())
