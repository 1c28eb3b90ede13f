"""An upgrade by pip under steady load, on each broker, against the promised figures.

The same story as tests/system/test_upgrade_under_load.py, which asserts what must be right; here speed counts too.
Exits with 1 if a promise is not kept. A busy machine makes the figures worse: run it alone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import named
from tests.support import brokers
from tests.support.sample import Application, make_application
from tests.support.upgrade import Setting, Upgrade, upgrade_under_load

RATE_KEPT, LONGEST_GAP, FIRST_NEW = 0.97, 0.5, 4.0  # of the rate before; s; s after pip's exit

KINDS = ("rabbitmq", "redis", "embedded")


@contextlib.contextmanager
def broker(kind: str, directory: Path) -> Iterator[brokers.Broker]:
    match kind:
        case "rabbitmq":
            with brokers.rabbitmq_server(directory) as (url, _):
                yield brokers.on_rabbitmq(url)
        case "redis":
            with brokers.redis_server(directory) as (url, _):
                yield brokers.on_redis(url, 0)
        case _:
            yield brokers.on_files(directory)


def promises(upgrade: Upgrade, workers: int) -> dict[str, tuple[str, bool]]:
    """Promise -> (measured, kept)."""
    outcome = upgrade.outcome
    new = outcome.workers.get("2.0", 0)
    return {
        "tasks lost": (f"{len(outcome.lost)} of {outcome.submitted}", not outcome.lost),
        "tasks run twice": (f"{len(outcome.twice)}", not outcome.twice),
        "recycles": (f"{upgrade.generations}, {new} new workers", upgrade.generations == 1 and new == workers),
        f"completion rate >= {RATE_KEPT} of before": (f"{outcome.rate_kept:.3f}", outcome.rate_kept >= RATE_KEPT),
        f"longest gap <= {LONGEST_GAP} s": (
            f"{outcome.during.longest_gap:.2f} s (before: {outcome.before.longest_gap:.2f} s)",
            outcome.during.longest_gap <= LONGEST_GAP,
        ),
        f"first task on new code <= {FIRST_NEW:g} s": (f"{outcome.first_new:.2f} s", outcome.first_new <= FIRST_NEW),
    }


def run(kind: str, acks_late: bool, application: Application) -> bool:
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        directory = Path(name)
        (directory / "broker").mkdir()
        (directory / "trapd").mkdir()
        with broker(kind, directory / "broker") as where:
            setting = Setting(where, acks_late)
            upgrade = upgrade_under_load(setting, application, directory / "trapd")
    print(f"\n{kind}, {'late' if acks_late else 'early'} acknowledgement\n{upgrade.outcome}")
    kept = promises(upgrade, setting.workers)
    for promise, (measured, holds) in kept.items():
        print(f"  {promise:36} {measured:32} {'kept' if holds else 'NOT KEPT'}")
    return all(holds for _, holds in kept.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="BROKER", help=f"of {', '.join(KINDS)}; rabbitmq and redis if none")
    parser.add_argument("--acks-late", action="store_true", help="acknowledge tasks after they ran")
    options = parser.parse_args()
    named.check(parser, "broker", options.kinds, KINDS)
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name:
        application = make_application(Path(name))
        kept = [run(kind, options.acks_late, application) for kind in options.kinds or KINDS[:2]]
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
