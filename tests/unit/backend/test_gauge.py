"""The memory that is left, read from files as kernels write them."""

from __future__ import annotations

from pathlib import Path

from trapd.backend.gauge import KernelGauge

GB = 1 << 30
OURS, WORKER = "self", 71


def machine(root: Path, *, available: int = 16 * GB, worker: str, ours: str) -> KernelGauge:
    """``worker`` and ``ours``: what /proc/PID/cgroup of a worker and of trapd has."""
    (root / "proc" / OURS).mkdir(parents=True)
    (root / "proc" / str(WORKER)).mkdir()
    (root / "proc/meminfo").write_text(f"MemTotal:  33554432 kB\nMemAvailable: {available // 1024} kB\nHugePages: 0\n")
    (root / "proc" / OURS / "cgroup").write_text(ours)
    (root / "proc" / str(WORKER) / "cgroup").write_text(worker)
    return KernelGauge(root)


def group(folder: Path, *, used: int, limit: str | int = "max", inactive: int = 0) -> None:
    """Of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"anon {used - inactive}\ninactive_file {inactive}\nactive_file 0\n")


def old_group(folder: Path, *, used: int, limit: int = 0x7FFFFFFFFFFFF000, inactive: int = 0) -> None:
    """Of version 1."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"cache 1\ntotal_inactive_file {inactive}\ntotal_active_file 0\n")


SLICE, UNIT = "trapd.slice/trapd-workers.slice", "trapd-worker-default@7-1.service"
OF_UNIT, OF_TRAPD = f"0::/{SLICE}/{UNIT}\n", "0::/trapd.slice/trapd.service\n"


def test_the_slice_of_the_workers_limits_them_and_their_own_limits_do_not_count(tmp_path: Path) -> None:
    gauge = machine(tmp_path, worker=OF_UNIT, ours=OF_TRAPD)
    groups = tmp_path / "sys/fs/cgroup"
    group(groups / SLICE / UNIT, used=GB, limit=GB, inactive=GB // 2)
    group(groups / SLICE, used=3 * GB, limit=4 * GB, inactive=GB)
    group(groups / "trapd.slice", used=3 * GB)
    assert gauge.read(WORKER) == 2 * GB
    assert gauge.cache(WORKER) == GB // 2
    group(groups / "trapd.slice", used=3 * GB, limit=3 * GB)
    assert gauge.read(WORKER) == 0, "the slice above it has less"
    group(groups / "trapd.slice", used=3 * GB, limit=1 * GB)
    assert gauge.read(WORKER) == 0, "a limit that was set below what is used"


def test_memory_high_counts_for_beyond_it_the_kernel_makes_everybody_wait(tmp_path: Path) -> None:
    gauge = machine(tmp_path, worker=OF_UNIT, ours=OF_TRAPD)
    slice_ = tmp_path / "sys/fs/cgroup" / SLICE
    group(slice_, used=3 * GB, limit=8 * GB)
    group(slice_ / UNIT, used=GB)
    (slice_ / "memory.high").write_text(f"{4 * GB}\n")
    assert gauge.read(WORKER) == GB


def test_the_machine_itself_may_have_less(tmp_path: Path) -> None:
    gauge = machine(tmp_path, available=GB, worker=OF_UNIT, ours=OF_TRAPD)
    group(tmp_path / "sys/fs/cgroup" / SLICE, used=3 * GB, limit=8 * GB)
    group(tmp_path / "sys/fs/cgroup" / SLICE / UNIT, used=GB)
    assert gauge.read(WORKER) == GB


def test_workers_in_the_control_group_of_trapd_share_its_limit(tmp_path: Path) -> None:
    """In a container the group is the top of what can be seen."""
    gauge = machine(tmp_path, worker="0::/\n", ours="0::/\n")
    group(tmp_path / "sys/fs/cgroup", used=3 * GB, limit=4 * GB)
    assert gauge.read(WORKER) == GB
    assert gauge.cache(WORKER) == 0


def test_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    path = "9:name=systemd:/a\n4:memory:/docker/ab12\n0::/docker/ab12\n"
    gauge = machine(tmp_path, worker=path, ours=path)
    top = tmp_path / "sys/fs/cgroup/memory"
    old_group(top, used=3 * GB)
    assert gauge.read(WORKER) == 16 * GB, "version 1 writes a large number for no limit"
    old_group(top, used=3 * GB, limit=4 * GB, inactive=GB)
    assert gauge.read(WORKER) == 2 * GB, "the host's path is not there: the container's top is its group"
    old_group(top / "docker/ab12", used=GB, limit=GB)
    assert gauge.read(WORKER) == 0


async def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert await KernelGauge(tmp_path).free(WORKER) is None


async def test_this_machine_tells_it() -> None:
    import os

    free = await KernelGauge().free(os.getpid())
    assert free is not None
    assert free > 0
