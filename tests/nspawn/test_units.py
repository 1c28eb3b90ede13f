"""The units and their generator on a real systemd. trapd and its workers are stood in for; their state is real."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nspawn.conftest import Boot
from tests.support import unit_files
from tests.support.installation import Installation
from tests.support.machine import Machine, MachineError

TOML = "/etc/trapd/trapd.toml"
KEPT, KEPT_NOW = "/etc/trapd/units.last-good", "/run/trapd-units.last-good"  # for the next boot, and until then
GENERATOR = "/usr/lib/systemd/system-generators/trapd-generator"
ASIDE = "/usr/local/lib/trapd-generator"  # systemd runs whatever is in that folder
SETTINGS = """
[trapd]
backend = "systemd"
watchdog = "45s"
[rollout]
progress_deadline = "1h30min"
[pools.default]
workers = 2
[pools.gpu]
rollout.progress_deadline = "90s"
[pools.gpu.systemd]
MemoryMax = "1G"
Nice = 5
PrivateDevices = false
After = "gpu.target"
"""
MORE = '[pools.extra]\nqueues = ["extra"]\n'
UNITS = ("trapd.service", "trapd-boot.service", "trapd-shutdown.service", "trapd.slice", "trapd-workers.slice")


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    unit_files.lay_out(tmp_path / "seed", SETTINGS)
    unit_files.stand_in(tmp_path / "seed")
    return tmp_path / "seed"


@pytest.fixture(scope="module")
def shared(boot_for_module: Boot, installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    seed = unit_files.lay_out(tmp_path_factory.mktemp("seed"), SETTINGS)
    unit_files.stand_in(seed)
    machine = boot_for_module(binds=installation.binds, seed=seed, prepare=unit_files.PREPARE)
    machine.systemctl("start", "trapd")
    return machine


@pytest.fixture
def machine(shared: Machine) -> Iterator[Machine]:
    """The module's machine, with the settings and nobody's worker, as each test finds it."""
    yield shared
    shared.put(TOML, SETTINGS)
    shared.sh("rm -rf /etc/systemd/system/trapd-worker* /etc/drain; systemctl daemon-reload").check()
    shared.systemctl("stop", "trapd-worker-*@*.service")
    shared.sh("systemctl reset-failed; systemctl start trapd").check()


def said_by_the_generator(machine: Machine) -> str:
    return machine.journal("-t", "trapd-generator")


def templates(machine: Machine) -> set[str]:
    return set(machine.sh("cd /run/systemd/generator; find . -path '*trapd*' -type f").out.split())


# --- what the generator writes --------------------------------------------------------------------------------------


def test_each_pool_has_a_template_made_from_the_base_and_its_own_settings(machine: Machine) -> None:
    assert templates(machine) == {
        "./trapd-worker-default@.service",
        "./trapd-worker-gpu@.service",
        "./trapd-worker-gpu@.service.d/50-pool.conf",
    }
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    shown = machine.show(
        "trapd-worker-gpu@7-1",
        *("MemoryMax", "Nice", "PrivateDevices", "After", "TimeoutStartUSec", "WatchdogUSec", "UnitFileState", "Slice"),
    )
    assert "gpu.target" in shown.pop("After").split()
    assert shown == {
        "MemoryMax": str(1 << 30),
        "Nice": "5",
        "PrivateDevices": "no",
        "TimeoutStartUSec": "1min 30s",
        "WatchdogUSec": "45s",
        "UnitFileState": "generated",
        "Slice": "trapd-workers.slice",
    }
    other = machine.show("trapd-worker-default@7-1", "MemoryMax", "TimeoutStartUSec", "PrivateDevices")
    assert other == {"MemoryMax": "infinity", "TimeoutStartUSec": "1h 30min", "PrivateDevices": "yes"}


def test_a_worker_starts_from_its_generations_snapshot_and_says_ready(machine: Machine) -> None:
    machine.systemctl("start", "trapd-worker-gpu@7-1", "trapd-worker-default@7-2")
    for name in ("gpu@7-1", "default@7-2"):
        shown = machine.show(f"trapd-worker-{name}", "ActiveState", "StatusText", "ControlGroup")
        assert (shown["ActiveState"], shown["StatusText"]) == ("active", "ready, 0 active")
        assert shown["ControlGroup"].endswith(f"/trapd.slice/trapd-workers.slice/trapd-worker-{name}.service")


def test_what_a_worker_prints_can_be_found_by_its_pool(machine: Machine) -> None:
    machine.put("/etc/systemd/system/trapd-worker-.service.d/print.conf", "[Service]\nExecStartPre=echo hello\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "trapd-worker-gpu@7-3", "trapd-worker-default@7-3")
    found = machine.entries("POOL=gpu", "INSTANCE=gpu@7-3", "_TRANSPORT=stdout")
    assert [(one["MESSAGE"], one["SYSLOG_IDENTIFIER"]) for one in found] == [("hello", "gpu@7-3")]


def test_a_setting_that_systemd_does_not_know_is_refused_by_name_and_the_others_apply(machine: Machine) -> None:
    machine.put(TOML, SETTINGS + 'MemoryMx = "2G"\nKillMode = "process"\nUser = "root"\n')
    machine.systemctl("daemon-reload")
    said = said_by_the_generator(machine)
    assert "[pools.gpu.systemd] MemoryMx: this machine's systemd does not know it; did you mean MemoryMax?" in said
    assert "[pools.gpu.systemd] KillMode: cannot be set here" in said
    shown = machine.show("trapd-worker-gpu@7-1", "MemoryMax", "KillMode", "User")
    assert shown == {"MemoryMax": str(1 << 30), "KillMode": "mixed", "User": "trapd-worker"}


def test_the_generator_is_fast(machine: Machine) -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        machine.run(GENERATOR, "/tmp/a", "/tmp/b", "/tmp/c").check()
        times.append(time.monotonic() - began)
    print(f"generator: {min(times):.3f} s")
    assert min(times) < 1.0


# --- how administrators change it -----------------------------------------------------------------------------------


def test_drop_ins_apply_at_three_levels_the_most_special_last(machine: Machine) -> None:
    everybody, one_pool = (
        "/etc/systemd/system/trapd-worker-.service.d",
        "/etc/systemd/system/trapd-worker-gpu@.service.d",
    )
    machine.put(f"{everybody}/all.conf", "[Service]\nCPUWeight=33\nIOWeight=44\n")
    machine.put(f"{one_pool}/zz.conf", "[Service]\nIOWeight=55\nNice=6\n")
    machine.systemctl("daemon-reload")
    wanted = ("CPUWeight", "IOWeight", "Nice", "MemoryMax")
    assert machine.show("trapd-worker-gpu@7-1", *wanted) == {
        "CPUWeight": "33",  # of every pool
        "IOWeight": "55",  # of this one, over that
        "Nice": "6",  # of this one, over trapd.toml
        "MemoryMax": str(1 << 30),  # of trapd.toml
    }
    assert machine.show("trapd-worker-default@7-1", *wanted)["IOWeight"] == "44"
    files = re.findall(r"^# (/.*)$", machine.systemctl("cat", "trapd-worker-gpu@7-1.service"), re.MULTILINE)
    assert files == [
        "/run/systemd/generator/trapd-worker-gpu@.service",
        "/run/systemd/generator/trapd-worker-gpu@.service.d/50-pool.conf",
        f"{everybody}/all.conf",
        f"{one_pool}/zz.conf",
    ]


def test_systemctl_edit_works_on_a_pool(machine: Machine) -> None:
    # systemd 257 puts the line to begin at before the file: +4
    editor = '#!/bin/sh\nfor file; do :; done\nsed -i "3i [Service]\\nNice=7\\n" "$file"\n'
    machine.put("/usr/local/bin/editor", editor, mode=0o755)
    edit = "SYSTEMD_EDITOR=/usr/local/bin/editor systemctl edit trapd-worker-gpu@"
    machine.run("script", "-qec", edit, "/dev/null").check()  # it insists on a terminal
    assert machine.show("trapd-worker-gpu@7-1", "Nice") == {"Nice": "7"}


def test_systemctl_tells_that_trapd_toml_is_newer_than_the_units(machine: Machine) -> None:
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    assert machine.show("trapd-worker-gpu@7-1", "NeedDaemonReload") == {"NeedDaemonReload": "no"}
    machine.put(TOML, SETTINGS + MORE)
    assert machine.show("trapd-worker-gpu@7-1", "NeedDaemonReload") == {"NeedDaemonReload": "yes"}
    assert "daemon-reload" in machine.run("systemctl", "status", "trapd-worker-gpu@7-1").err


def test_reload_writes_the_units_anew_and_tells_trapd_without_a_restart(machine: Machine) -> None:
    pid = machine.show("trapd", "MainPID")
    machine.put(TOML, SETTINGS + MORE)
    machine.systemctl("reload", "trapd")
    assert "./trapd-worker-extra@.service" in templates(machine)
    assert machine.show("trapd", "MainPID") == pid
    machine.systemctl("start", "trapd-worker-gpu@7-1")


def test_a_pool_that_is_gone_from_the_settings_has_no_template_any_more(machine: Machine) -> None:
    machine.put(TOML, SETTINGS + MORE)
    machine.systemctl("daemon-reload")
    assert machine.exists(f"{KEPT_NOW}/trapd-worker-extra@.service")
    machine.put(TOML, SETTINGS)
    machine.systemctl("daemon-reload")
    assert not machine.exists(f"{KEPT_NOW}/trapd-worker-extra@.service")
    with pytest.raises(MachineError, match=r"not found"):
        machine.systemctl("start", "trapd-worker-extra@7-1")


def test_directories_of_ones_own_are_opened_to_the_daemon_and_told_to_the_workers(machine: Machine) -> None:
    machine.put(TOML, SETTINGS.replace("[trapd]", '[trapd]\nstate_directory = "/srv/trapd state"'))
    machine.systemctl("daemon-reload")
    assert machine.show("trapd", "ReadWritePaths") == {"ReadWritePaths": '"-/srv/trapd state"'}
    worker = machine.show("trapd-worker-gpu@7-1", "Environment")["Environment"]
    assert '"TRAPD_STATE_DIRECTORY=/srv/trapd state"' in worker


def test_the_boot_list_is_read_with_trapds_own_rights(machine: Machine) -> None:
    """Its path is in a folder of trapd's, who could make it a link to anything."""
    machine.sh("(umask 077; echo secret-of-root >/etc/secret); ln -s /etc/secret /var/lib/trapd/boot").check()
    machine.systemctl("restart", "trapd-boot")
    words = machine.journal("-u", "trapd-boot")
    machine.sh("rm /var/lib/trapd/boot /etc/secret; systemctl stop trapd-boot").check()
    assert "Permission denied" in words
    assert "secret-of-root" not in words


CELERYCONFIG = """
from pathlib import Path

home = Path.home() / "broker"
for name in ("data", "control", "results"):
    (home / name).mkdir(parents=True, exist_ok=True)
broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": str(home / "data"),
    "data_folder_out": str(home / "data"),
    "control_folder": str(home / "control"),
    "polling_interval": 0.1,
}
result_backend = f"file://{home / 'results'}"
"""
ASK = """
import os, sys, celery
os.environ["HOME"] = "/var/lib/trapd-worker"
sys.path.insert(0, "/var/lib/trapd/generations/7/etc")
app = celery.Celery()
app.config_from_object("celeryconfig")
print(*app.send_task("sample.who").get(timeout=40), sep="\\n")
"""


def test_a_real_celery_worker_works_in_the_sandbox(boot: Boot, installation: Installation, tmp_path: Path) -> None:
    seed = unit_files.lay_out(tmp_path / "seed", SETTINGS, celeryconfig=CELERYCONFIG)
    unit_files.stand_in(seed)
    (seed / "etc/python").write_text(installation.python)
    machine = boot(binds=installation.binds, seed=seed, prepare=unit_files.PREPARE)
    machine.systemctl("start", "trapd")
    machine.systemctl("start", "trapd-worker-default@7-1")
    unit = machine.show("trapd-worker-default@7-1", "ActiveState", "StatusText", "InvocationID")
    assert unit.pop("ActiveState") == "active"
    assert unit["StatusText"].startswith("ready, 0 active")
    assert machine.run(installation.python, "-c", ASK, user="trapd-worker").check().splitlines() == [
        "trapd-worker",
        unit["InvocationID"],
        "/var/lib/trapd/generations/7/code/sample.py",
    ]
    assert machine.run("cat", "/run/trapd-worker/instances/default@7-1.json", user="trapd").code == 0
    machine.systemctl("stop", "trapd-worker-default@7-1")
    assert "Deactivated successfully" in machine.journal("-u", "trapd-worker-default@7-1")


# --- what is broken never breaks the boot ---------------------------------------------------------------------------

BROKEN = {
    "no TOML": "[pools.gpu\n",
    "an unknown key": SETTINGS + "[watch]\nquiet = 3\n",
    "a pool's name that is none": '[pools."../../etc"]\nworkers = 1\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_with_a_broken_trapd_toml_the_last_good_units_stay_and_the_journal_says_so(machine: Machine, text: str) -> None:
    before = templates(machine)
    machine.put(TOML, text)
    machine.systemctl("daemon-reload")
    assert templates(machine) == before
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    assert machine.show("trapd-worker-gpu@7-1", "MemoryMax") == {"MemoryMax": str(1 << 30)}
    said = said_by_the_generator(machine)
    assert f"cannot write the pools' units: {TOML}" in said
    assert f"the pools keep the last good units, from {KEPT_NOW}" in said


# What systemd 257 does to generators, on every systemd: they may write in /run alone.
CONFINED = f"""#!/bin/sh
[ "$1" != --keep ] || exec {ASIDE} "$@"
exec unshare --mount sh -euc 'mount --bind /etc /etc; mount -o remount,bind,ro /etc; exec "$0" "$@"' {ASIDE} "$@"
"""


@pytest.fixture
def confined(machine: Machine) -> Iterator[Machine]:
    machine.sh(f"mv {GENERATOR} {ASIDE}").check()
    machine.put(GENERATOR, CONFINED, mode=0o755)
    yield machine
    machine.sh(f"mv {ASIDE} {GENERATOR}").check()


def test_a_reload_of_trapd_keeps_the_units_for_the_next_boot_and_a_daemon_reload_until_then(confined: Machine) -> None:
    machine, extra = confined, "trapd-worker-extra@.service"
    machine.sh(f"rm -rf {KEPT}").check()
    machine.put(TOML, SETTINGS + MORE)
    machine.systemctl("daemon-reload")
    assert [machine.exists(f"{folder}/{extra}") for folder in (KEPT, KEPT_NOW)] == [False, True]
    machine.put(TOML, BROKEN["no TOML"])
    machine.systemctl("daemon-reload")
    assert f"./{extra}" in templates(machine)
    machine.put(TOML, SETTINGS + MORE)
    machine.systemctl("reload", "trapd")
    assert machine.exists(f"{KEPT}/{extra}")
    machine.put(TOML, BROKEN["no TOML"])
    machine.sh(f"rm -r {KEPT_NOW}; systemctl daemon-reload").check()  # as at boot
    assert f"./{extra}" in templates(machine)


def test_a_trapd_toml_that_anybody_may_write_is_not_obeyed(machine: Machine) -> None:
    machine.put(TOML, SETTINGS + MORE, mode=0o666)
    machine.systemctl("daemon-reload")
    assert "./trapd-worker-extra@.service" not in templates(machine)
    assert "./trapd-worker-gpu@.service" in templates(machine)
    assert "everybody may write it" in said_by_the_generator(machine)


def test_without_trapds_interpreter_the_last_good_units_stay(machine: Machine) -> None:
    """As at boot, if /opt is mounted later."""
    machine.sh(f"cp {GENERATOR} {ASIDE}; sed -i s,/opt/trapd/bin/python,/opt/later/python, {GENERATOR}").check()
    before = templates(machine)
    machine.systemctl("daemon-reload")
    machine.sh(f"mv {ASIDE} {GENERATOR}").check()
    assert templates(machine) == before
    assert "the pools keep the last good units" in said_by_the_generator(machine)


def test_a_machine_boots_with_a_broken_trapd_toml_and_its_last_good_units(
    boot: Boot, installation: Installation, seed: Path
) -> None:
    machine = boot(binds=installation.binds, seed=seed, prepare=unit_files.PREPARE)
    machine.systemctl("enable", "--now", "trapd")
    machine.put(TOML, BROKEN["no TOML"])
    machine.reboot()
    assert machine.wait_running() == "running"
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    assert machine.show("trapd-worker-gpu@7-1", "Nice") == {"Nice": "5"}


# --- life -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill --signal=SIGKILL trapd", "restart trapd", "daemon-reexec"])
def test_whatever_happens_to_trapd_its_workers_are_not_touched(machine: Machine, how: str) -> None:
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    before = machine.show("trapd-worker-gpu@7-1", "MainPID", "InvocationID", "ActiveState")
    machine.systemctl(*how.split())
    assert machine.show("trapd-worker-gpu@7-1", "MainPID", "InvocationID", "ActiveState") == before
    assert before["ActiveState"] == "active"


def test_a_drain_may_last_longer_than_the_stop_timeout(machine: Machine) -> None:
    machine.put("/etc/systemd/system/trapd-worker-.service.d/short.conf", "[Service]\nTimeoutStopSec=3\n")
    machine.put("/etc/drain", "5")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    began = time.monotonic()
    machine.sh("systemctl stop trapd-worker-gpu@7-1").check()
    assert time.monotonic() - began > 4.5
    assert "Deactivated successfully" in machine.journal("-u", "trapd-worker-gpu@7-1")


def test_a_worker_that_hangs_in_its_drain_is_ended_and_says_where(machine: Machine) -> None:
    machine.put("/etc/systemd/system/trapd-worker-.service.d/short.conf", "[Service]\nTimeoutStopSec=3\n")
    machine.put("/etc/drain", "-1")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    began = time.monotonic()
    machine.sh("systemctl stop trapd-worker-gpu@7-1")
    assert 2.5 < time.monotonic() - began < 9.0, "before SIGKILL: SIGABRT was enough"
    said = machine.journal("-u", "trapd-worker-gpu@7-1")
    assert "Fatal Python error: Aborted" in said
    assert "in drain" in said  # the function that hung


def test_a_worker_that_hangs_at_its_start_says_where(machine: Machine) -> None:
    machine.put("/etc/systemd/system/trapd-worker-.service.d/short.conf", "[Service]\nTimeoutStartSec=5\n")
    machine.put("/etc/probes.json", '{"hang": "__import__(\'threading\').Event().wait()"}')
    machine.systemctl("daemon-reload")
    with pytest.raises(MachineError):
        machine.systemctl("start", "trapd-worker-gpu@7-1")
    machine.sh("rm /etc/probes.json").check()
    shown = machine.show("trapd-worker-gpu@7-1", "ActiveState", "Result")  # not started again: that is for trapd to say
    assert shown == {"ActiveState": "failed", "Result": "timeout"}
    said = machine.journal("-u", "trapd-worker-gpu@7-1")
    assert "Fatal Python error: Aborted" in said
    assert "in attempt" in said  # the function that hung


def test_a_worker_that_crashed_is_started_again_without_trapd(machine: Machine) -> None:
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    machine.systemctl("kill", "--signal=SIGSTOP", "trapd")  # it hangs; a stop would stop the worker as well
    try:
        machine.systemctl("kill", "--signal=SIGKILL", "trapd-worker-gpu@7-1")
        deadline = time.monotonic() + 25.0  # before the watchdog ends trapd
        while time.monotonic() < deadline:
            shown = machine.show("trapd-worker-gpu@7-1", "ActiveState", "NRestarts")
            if shown == {"ActiveState": "active", "NRestarts": "1"}:
                return
            time.sleep(0.1)
        raise AssertionError(shown)
    finally:
        machine.systemctl("kill", "--signal=SIGCONT", "trapd")


def test_a_stop_of_the_slice_ends_workers_and_trapd(machine: Machine) -> None:
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    machine.systemctl("stop", "trapd.slice")
    for unit in ("trapd", "trapd-worker-gpu@7-1"):
        assert machine.show(unit, "ActiveState") == {"ActiveState": "inactive"}


def test_trapd_stays_down_with_a_configuration_that_cannot_be_used(machine: Machine) -> None:
    real = "/etc/systemd/system/trapd.service.d/the-real.conf"  # after stand-in.conf
    machine.put(real, "[Service]\nExecStart=\nExecStart=/opt/trapd/bin/trapd\n")
    machine.put(TOML, BROKEN["no TOML"])
    machine.sh("systemctl daemon-reload; systemctl stop trapd").check()
    with pytest.raises(MachineError):
        machine.systemctl("start", "trapd")
    shown = machine.show("trapd", "ActiveState", "ExecMainStatus", "NRestarts")
    machine.sh(f"rm {real}").check()
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}


def test_boot_starts_the_listed_workers_even_if_trapd_cannot_start(
    boot: Boot, installation: Installation, seed: Path
) -> None:
    machine = boot(binds=installation.binds, seed=seed, prepare=unit_files.PREPARE)
    machine.systemctl("enable", "--now", "trapd")
    machine.put("/etc/systemd/system/other.service", "[Service]\nExecStart=sleep infinity\n")
    listed = ["trapd-worker-gpu@7-1.service", "other.service", "trapd-worker-default@7-2.service"]
    machine.put("/var/lib/trapd/boot", "".join(f"{unit}\n" for unit in listed))
    machine.put("/etc/systemd/system/trapd.service.d/the-broken.conf", "[Service]\nExecStart=\nExecStart=false\n")
    machine.reboot()
    deadline = time.monotonic() + 60
    active: list[str] = []
    listing = ["list-units", "--plain", "--no-legend", "--state=active", "trapd-worker-*"]
    while len(active) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        active = machine.systemctl(*listing).splitlines()
    assert [line.split()[0] for line in active] == ["trapd-worker-default@7-2.service", "trapd-worker-gpu@7-1.service"]
    assert machine.show("trapd", "ActiveState")["ActiveState"] != "active"
    assert machine.show("other", "ActiveState") == {"ActiveState": "inactive"}  # the list is obeyed with trapd's rights


def test_a_shutdown_waits_for_the_workers_but_not_for_ever(boot: Boot, installation: Installation, seed: Path) -> None:
    machine = boot(binds=installation.binds, seed=seed, prepare=unit_files.PREPARE)
    bound = "[Service]\nEnvironment=TRAPD_SHUTDOWN_TIMEOUT=6\n"
    machine.put("/etc/systemd/system/trapd-shutdown.service.d/bound.conf", bound)
    machine.sh("systemctl daemon-reload; systemctl start trapd").check()

    def reboot_with_a_drain_of(seconds: int) -> float:
        machine.put("/etc/drain", str(seconds))
        machine.systemctl("start", "trapd-worker-gpu@7-1")
        began = time.monotonic()
        machine.reboot()
        return time.monotonic() - began

    assert reboot_with_a_drain_of(2) > 2.0
    assert "Deactivated successfully" in machine.journal("--boot=-1", "-u", "trapd-worker-gpu@7-1")
    assert 6.0 < reboot_with_a_drain_of(600) < 60.0
    assert "trapd-worker-gpu@7-1.service" in machine.journal("--boot=-1", "-u", "trapd-shutdown")
    assert "still busy after 6 s" in machine.journal("--boot=-1", "-u", "trapd-shutdown")


def test_the_bound_on_the_shutdown_does_not_touch_a_worker_before_it(machine: Machine) -> None:
    machine.systemctl("start", "trapd-worker-gpu@7-1")
    assert machine.show("trapd-shutdown", "ActiveState") == {"ActiveState": "active"}
    machine.systemctl("stop", "trapd-shutdown")
    assert machine.show("trapd-worker-gpu@7-1", "ActiveState") == {"ActiveState": "active"}


# --- what systemd itself says of them -------------------------------------------------------------------------------


def test_systemd_finds_no_fault_in_any_unit(machine: Machine) -> None:
    units = [f"/usr/lib/systemd/system/{unit}" for unit in UNITS]
    units += [f"/run/systemd/generator/trapd-worker-{pool}@.service" for pool in ("default", "gpu")]
    done = machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.code, done.err) == (0, "")


PROMISED = {
    "trapd": {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "always",  # a crash is over in a second, as often as it comes
        "RestartUSec": "1s",
        "StartLimitIntervalUSec": "0",
        "RestartPreventExitStatus": "78",  # a broken trapd.toml: it stays down until that is mended
        "WatchdogUSec": "30s",
        "KillMode": "mixed",
        "OOMPolicy": "continue",
        "OOMScoreAdjust": "-500",
        "User": "trapd",
        "SupplementaryGroups": "systemd-journal",
        "NoNewPrivileges": "yes",
        "PrivateNetwork": "yes",
    },
    "trapd-worker-gpu@7-1": {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "on-failure",  # by systemd alone, also while trapd is away
        "RestartUSec": "2s",
        "StartLimitBurst": "4",
        "RestartPreventExitStatus": "70 78 ABRT",
        "KillMode": "mixed",  # a drain: SIGTERM to the Celery pool's children would kill running tasks
        "KillSignal": "15",
        "TimeoutStopUSec": "55s",
        "OOMPolicy": "continue",
        "User": "trapd-worker",
        "NoNewPrivileges": "yes",
        "PrivateNetwork": "no",  # the broker may be anywhere
        "IPAddressDeny": "",
    },
    "trapd-shutdown": {"Environment": "TRAPD_SHUTDOWN_TIMEOUT=300", "TimeoutStopUSec": "infinity"},
}


@pytest.mark.parametrize(("unit", "promised"), PROMISED.items(), ids=PROMISED)
def test_systemd_has_read_of_a_unit_what_the_documents_promise(
    machine: Machine, unit: str, promised: dict[str, str]
) -> None:
    assert machine.show(unit, *promised) == promised


SCORES = {
    "trapd.service": 1.0,
    "trapd-worker-default@7-1.service": 1.5,
    "trapd-boot.service": 1.5,
    "trapd-shutdown.service": 1.5,
}


@pytest.mark.parametrize(("unit", "most"), SCORES.items(), ids=SCORES)
def test_a_unit_is_exposed_no_more_than_its_share(machine: Machine, unit: str, most: float) -> None:
    source = machine.systemctl("cat", unit)
    machine.put(f"/tmp/scored/{unit}", source)
    said = machine.run("systemd-analyze", "security", "--offline=true", f"/tmp/scored/{unit}").out
    found = re.search(r"exposure level for .*: ([0-9.]+)", said)
    assert found is not None, said
    print(f"{unit}: {found[1]}")
    assert float(found[1]) <= most, said


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_values_that_systemd_cannot_use_are_found_before_it_has_to(machine: Machine, user: str) -> None:
    wrong = 'MemoryHigh = "1Q"\nNicer = 1\nReadWritePaths = "data"\nPrivateTmp = "maybe"\nCPUWeight = 50\n'
    machine.put("/srv/trapd.toml", SETTINGS + wrong)
    script = "from pathlib import Path; from trapd.settings import load; from trapd.units.verify import faults;"
    script += "print(*faults(load(Path('/srv/trapd.toml'))), sep='\\n')"
    *told, last = machine.run("/opt/trapd/bin/python", "-IBc", script, user=user).check().splitlines()
    assert told == [
        "[pools.gpu.systemd] Nicer: this machine's systemd does not know it; did you mean Nice?",
        "[pools.gpu.systemd] MemoryHigh: systemd cannot use it: Invalid memory limit '1Q', ignoring: Invalid argument; "
        "correct it",
        "[pools.gpu.systemd] ReadWritePaths: systemd cannot use it: ReadWritePaths= path is not absolute, ignoring: "
        "data; correct it",
    ]
    assert last in [
        f"[pools.gpu.systemd] PrivateTmp: systemd cannot use it: Failed to parse {words}; correct it"
        for words in ("boolean value, ignoring: maybe", "PrivateTmp=maybe, ignoring: Invalid argument")  # 252, 257
    ]
