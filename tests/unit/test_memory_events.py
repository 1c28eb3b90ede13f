"""The kernel's count of processes that it killed for lack of memory: files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.memory_events import MemoryKills

V2 = "low 0\nhigh 12\nmax 3\noom 1\noom_kill {}\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
UNIT = "trapd.slice/trapd-workers.slice/trapd-worker-default@7-1.service"
BOTH = f"4:memory:/{UNIT}\n1:name=systemd:/\n0::/\n"


@pytest.mark.parametrize(
    ("group", "file", "text"),
    [
        (f"0::/{UNIT}\n", f"{UNIT}/memory.events", V2),
        ("0::/../../of-the-host\n", "memory.events", V2),  # in a container
        (BOTH, f"memory/{UNIT}/memory.oom_control", V1),
    ],
)
def test_each_kill_is_noticed_once(tmp_path: Path, group: str, file: str, text: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group)
    counted = tmp_path / "sys/fs/cgroup" / file
    counted.parent.mkdir(parents=True)
    counted.write_text(text.format(2))
    kills = MemoryKills(tmp_path)
    assert not kills.rose()
    counted.write_text(text.format(3))
    assert (kills.rose(), kills.rose()) == (True, False)


@pytest.mark.parametrize("text", [None, "", "oom 1\n", "oom_kill many\n"])
def test_a_kernel_that_does_not_count_says_nothing(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    if text is not None:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.events").write_text(text)
    kills = MemoryKills(tmp_path)
    assert (kills.count(), kills.rose()) == (None, False)
