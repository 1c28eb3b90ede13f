"""Write docs/events.md, which kinds of event there are: ``python -m docs.events``"""

from __future__ import annotations

from pathlib import Path

from trapd.event import About, EventKind

FILE = Path(__file__).with_name("events.md")

HEAD = """# Events

trapd's history is a list of events: `trapctl events` shows its end, `trapctl why` the part that belongs to one pool,
rollout or worker. Each event has

* a number (`id`), which grows with each event, over every restart and upgrade of trapd, and is never used twice; the
  exception is an event of a full or read-only disk, if trapd ends before it could write the event down;
* the moment (`at`, seconds since the epoch);
* a kind, one of those below;
* who caused it (`actor`): `trapd`, `watch`, `reload` or a user's name; `worker` if a worker acted by itself; `outside`
  if systemd, a person with `systemctl` or `kill`, or the machine acted;
* a `reason`; and in `detail` the traceback or the last lines of the log, if there are any;
* a `duration` in seconds; it is null if it is not known.

The oldest events beyond 100,000 are forgotten. This file is made by `python -m docs.events`.
"""

TITLES = {
    About.TRAPD: "trapd itself",
    About.ROLLOUT: "A rollout",
    About.POOL: "A pool, on command",
    About.WORKER: "A worker",
    About.PROBLEM: "Problems",
}


def page() -> str:
    """The whole file."""
    parts = [HEAD]
    for about, title in TITLES.items():
        parts.append(f"\n## {title}\n\n| kind | what happened | duration |\n|---|---|---|\n")
        kinds = [kind for kind in EventKind if kind.about is about]
        parts += [f"| `{kind}` | {kind.meaning} | {kind.lasted} |\n" for kind in kinds]
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
