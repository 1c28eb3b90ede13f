"""The test machine itself: what the other tests in this folder rely on."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.nspawn.conftest import Boot
from tests.support.installation import Installation
from tests.support.machine import PREFIX, Hub, Machine, MachineError

ROOT = Path(__file__).parents[2]


def scratch_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*"))


def cgroups() -> set[str]:
    return {folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"{PREFIX}{os.getpid()}-" in folder}


def nspawns() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if one.name() in ("systemd-nspawn", "systemd")]


@pytest.fixture(autouse=True)
def nothing_of_a_machine_is_left() -> None:
    assert (scratch_folders(), cgroups(), nspawns()) == (set(), set(), [])


def test_it_boots_a_real_systemd(bare_machine: Machine) -> None:
    print(f"booted in {bare_machine.booted_in:.2f} s")
    assert bare_machine.booted_in < 20.0
    assert bare_machine.wait_running() == "running"
    assert bare_machine.read("/proc/1/comm") == "systemd\n"


def test_commands_run_as_root_or_as_a_user(bare_machine: Machine) -> None:
    assert bare_machine.run("id", "-un").out == "root\n"
    assert bare_machine.run("id", "-un", user="daemon").out == "daemon\n"
    assert bare_machine.sh("exit 3").code == 3
    with pytest.raises(MachineError, match="exit status 1"):
        bare_machine.systemctl("start", "nonsense.service", "--no-such-option")
    with pytest.raises(subprocess.TimeoutExpired):
        bare_machine.run("sleep", "60", timeout=0.2)


def test_it_sees_nothing_of_this_machine_but_its_packages(bare_machine: Machine) -> None:
    assert not bare_machine.exists(str(ROOT))
    assert bare_machine.run("ls", "-A", "/home", "/opt", "/srv").out.split() == ["/home:", "/opt:", "/srv:"]
    assert bare_machine.run("ls", "-A", "/root").out.split() in ([], [".ssh"])  # which tmpfiles.d makes
    assert bare_machine.run("ip", "route").out == ""


def test_what_it_writes_stays_in_it(bare_machine: Machine) -> None:
    bare_machine.put("/etc/of-the-machine/file", "words\n", mode=0o640, owner="daemon:adm")
    assert bare_machine.sh("stat -c '%U:%G %a' /etc/of-the-machine/file").out == "daemon:adm 640\n"
    assert not Path("/etc/of-the-machine").exists()


def test_files_are_copied_in_and_out(bare_machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("words")
    bare_machine.copy_in(tmp_path / "tree", "/srv/there")
    bare_machine.sh("ln -s /srv/there/tree/file /srv/there/tree/link").check()
    (tmp_path / "back").mkdir()
    bare_machine.copy_out("/srv/there/tree", tmp_path / "back")
    assert (tmp_path / "back/tree/link").read_text() == "words"


def test_its_journal_can_be_read(bare_machine: Machine) -> None:
    bare_machine.run("systemd-run", "--wait", "--unit=speaker", "echo", "hello there").check()
    assert "hello there" in bare_machine.journal("-u", "speaker")
    assert [one["MESSAGE"] for one in bare_machine.entries("-u", "speaker", "_TRANSPORT=stdout")] == ["hello there"]


@pytest.mark.parametrize("how", [Machine.reboot, Machine.pull_the_plug])
def test_after_a_reboot_it_is_the_same_machine(bare_machine: Machine, how: object) -> None:
    assert callable(how)
    bare_machine.put("/var/lib/kept", "words")
    bare_machine.put("/run/lost", "words")
    bare_machine.run("systemd-run", "--unit=speaker", "--wait", "echo", "before").check()
    bare_machine.run("journalctl", "--sync").check()
    identity = bare_machine.read("/etc/machine-id"), bare_machine.read("/proc/sys/kernel/random/boot_id")
    how(bare_machine)
    again = bare_machine.read("/etc/machine-id"), bare_machine.read("/proc/sys/kernel/random/boot_id")
    assert (again[0] == identity[0], again[1] == identity[1]) == (True, False)
    assert bare_machine.read("/var/lib/kept") == "words"
    assert not bare_machine.exists("/run/lost")
    assert "before" in bare_machine.journal("--boot=-1", "-u", "speaker")
    assert bare_machine.wait_running() == "running"


def test_machines_on_a_hub_reach_each_other_by_name_also_after_a_reboot(boot: Boot, hub: Hub) -> None:
    one, two = boot("one", hub=hub, peers=["two"]), boot("two", hub=hub, peers=["one"])
    two.run("systemd-run", "--unit=listener", "--collect", "/usr/bin/python3", "-m", "http.server", "8000").check()
    ask = "exec 3<>/dev/tcp/two/8000; printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"
    deadline = time.monotonic() + 20.0
    while (done := one.run("bash", "-c", ask)).code and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "200 OK" in done.check()
    one.reboot()
    assert "200 OK" in one.run("bash", "-c", ask).check()
    two.sh("ip link set host0 down").check()
    assert one.run("timeout", "1", "bash", "-c", ask).code != 0


def test_two_machines_have_cgroups_of_their_own(boot: Boot) -> None:
    one, two = boot("one"), boot("two")
    one.run("systemd-run", "--unit=sleeper", "-p", "Type=exec", "sleep", "60").check()
    assert two.sh("systemd-cgls --no-pager | grep -c 'sleep 60' || :").out == "0\n"
    assert one.sh("systemd-cgls --no-pager | grep -c 'sleep 60'").out == "1\n"


def test_memory_and_task_limits_work(bare_machine: Machine) -> None:
    bare_machine.enable_limits()
    greedy = ["systemd-run", "--wait", "-p", "MemoryMax=30M", "/usr/bin/python3", "-c", "bytearray(200 << 20)"]
    assert bare_machine.run(*greedy).code != 0
    assert bare_machine.run(*greedy[:2], *greedy[4:]).code == 0


def test_trapd_is_installed_at_opt(machine: Machine, installation: Installation) -> None:
    assert "usage" in machine.run("/opt/trapd/bin/trapd", "--help", user="daemon").check().lower()
    where = machine.run(installation.python, "-c", "import trapd; print(trapd.__file__)", user="daemon").check()
    assert where.startswith("/opt/trapd/lib/")
    compiled = machine.run(installation.python, "-c", "import trapd.model as m; print(m.__cached__)").check()
    assert machine.exists(compiled.strip())


# --- after any failure nothing is left (the autouse fixture of the next test looks) -----------------------------------


def test_an_error_in_the_test_ends_it() -> None:
    with pytest.raises(ZeroDivisionError), Machine():
        raise ZeroDivisionError
    assert (scratch_folders(), cgroups(), nspawns()) == (set(), set(), [])


def test_an_error_in_its_preparation_is_told() -> None:
    with pytest.raises(MachineError, match=r"it ended\n(.|\n)*no-such-program"):
        Machine(prepare="no-such-program").__enter__()
    assert (scratch_folders(), cgroups(), nspawns()) == (set(), set(), [])


def test_one_that_does_not_boot_in_time_is_ended() -> None:
    with pytest.raises(MachineError, match=r"not in 0\.05 s"):
        Machine(boot_timeout=0.05).__enter__()
    assert (scratch_folders(), cgroups(), nspawns()) == (set(), set(), [])


def test_one_whose_service_does_not_stop_is_ended_by_force() -> None:
    with Machine(stop_timeout=1.0) as machine:
        stubborn = ["-p", "KillMode=none", "-p", "TimeoutStopSec=infinity", "-p", "ExecStop=sleep infinity"]
        machine.run("systemd-run", *stubborn, "sleep", "infinity").check()
    assert (scratch_folders(), cgroups(), nspawns()) == (set(), set(), [])


@pytest.mark.parametrize("how", ["systemctl poweroff", "kill -9 -1"])
def test_one_that_ends_by_itself_leaves_nothing(how: str) -> None:
    with Machine() as machine:
        machine.run("sh", "-c", how)
    assert (scratch_folders(), cgroups(), nspawns()) == (set(), set(), [])
