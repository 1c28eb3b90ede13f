"""Many upgrades in a row, at work: nothing is lost, and trapd does not grow."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression, median_low
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults.life import Life, a_broker
from tests.support.repetitions import times
from tests.upgrades.stage import at_rest

if TYPE_CHECKING:
    from trapd.control import documents

pytestmark = [pytest.mark.long, pytest.mark.timeout(times(900, 3600))]

COUNTS = 15, 200
WARM_UP = 5  # upgrades after which trapd has seen everything once: caches are full, and old generations are removed
GROWTH = 1.10  # of its memory, from the fifth of the upgrades that comes then to the last fifth, at most
STATE_FILES = 20  # more of 3,300: seen were up to 9 more for a moment, in ten upgrades
BY_CHANCE = 1  # of anything: what is under way at the moment of a look (a generation that is removed, a connection)
POOL = 4  # threads more: those of asyncio's pool come one by one, whenever more are needed at once than ever before


@dataclass(frozen=True)
class Size:
    """Of trapd, and of what it keeps on the disk, while nothing goes on."""

    rss: int  # bytes
    descriptors: int
    threads: int
    processes: int
    runtime_files: int
    state_files: int  # without generations, which are counted, and logs, of which the embedded backend keeps 100
    generations: int

    @classmethod
    def of(cls, life: Life) -> Size:
        trapd = psutil.Process(life.daemon_pid())
        return cls(
            rss=trapd.memory_info().rss,
            descriptors=trapd.num_fds(),
            threads=trapd.num_threads(),
            processes=len(life.daemon.living()),
            runtime_files=sum(1 for _ in life.daemon.runtime.rglob("*")),
            state_files=sum(1 for path in life.daemon.state.iterdir() for _ in _below(path)),
            generations=sum(1 for _ in (life.daemon.state / "generations").iterdir()),
        )


def _below(path: Path) -> Iterable[Path]:
    return [path, *path.rglob("*")] if path.is_dir() and path.name not in ("generations", "logs") else [path]


def slopes(sizes: Sequence[Size]) -> dict[str, float]:
    """How much each grows with an upgrade."""
    numbers = range(len(sizes))
    return {name: linear_regression(numbers, [asdict(size)[name] for size in sizes]).slope for name in asdict(sizes[0])}


def upgrade(life: Life) -> int:
    """Upgrade, until the rollout is over; returns the fewest workers that were ready meanwhile."""
    fewest = life.workers

    def is_over(pool: documents.Pool) -> bool:
        nonlocal fewest
        fewest = min(fewest, sum(one["state"] == "ready" for one in pool["instances"]))
        return at_rest(pool) and pool["generation"] != before

    status = life.status()
    assert status is not None
    before = status["pools"][0]["generation"]
    life.upgrade()
    life.wait_until("the end of a rollout", is_over)
    return fewest


def test_many_upgrades_in_a_row_lose_nothing_and_leave_nothing(
    short_path: Path,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    count = times(*COUNTS)
    record_property("times", count)
    assert pytestconfig.cache is not None
    kept, sizes = pytestconfig.cache.mkdir("environments"), list[Size]()
    with ExitStack() as stack:
        broker, server = a_broker("rabbitmq", tmp_path, stack)
        life = stack.enter_context(Life(short_path, kept, broker, server, random.Random(0)))
        for _ in range(count):
            assert upgrade(life) >= life.workers, "max_unavailable is 0"
            life.recovers()
            sizes.append(Size.of(life))
        served = {entry.version for entry in life.work.entries()}
    print(*sizes, sep="\n")
    print("with each upgrade:", {name: round(slope, 3) for name, slope in slopes(sizes[WARM_UP:]).items()})
    assert served == {f"{number}.0" for number in range(1, count + 2)}
    fifth = (count - WARM_UP) // 5
    earlier, later = (  # usually, in a part: a pool of threads starts one more when it needs it
        {name: median_low(asdict(size)[name] for size in part) for name in asdict(sizes[0])}
        for part in (sizes[WARM_UP : WARM_UP + fifth], sizes[-fifth:])
    )
    assert later.pop("rss") <= GROWTH * earlier.pop("rss")
    assert later.pop("state_files") <= earlier.pop("state_files") + STATE_FILES
    assert later.pop("threads") <= earlier.pop("threads") + POOL
    assert all(later[name] <= earlier[name] + BY_CHANCE for name in later), f"usually {earlier}, and then {later}"
