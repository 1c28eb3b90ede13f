"""Who may do what, on a real systemd with a real polkit: trapd to units, tasks to the machine, others to secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.nspawn.conftest import Boot
from tests.support import unit_files
from tests.support.installation import Installation
from tests.support.machine import Machine

SETTINGS = '[trapd]\nbackend = "systemd"\n[pools.default]\n[pools.gpu]\n'
SECRET = "broker_url = 'amqp://trap:s3cret@broker//'\n"
OWN = "trapd-worker-gpu@7-1.service"
# Units with names that look like ours, or in which ours is contained; root starts them.
ALIKE = (
    "trapd-worker.service",
    "trapd-worker-gpu.service",
    "trapd-workers-gpu@7-1.service",
    "xtrapd-worker-gpu@7-1.service",
    "trapd-worker-gpu@7-1x.service",
    "trapd-worker-gpu@7.service",
    "trapd-worker-gpu@7-1-1.service",
    "trapd-worker-gpu@.7-1.service",
    "trapd-worker-Gpu@7-1.service",
    "trapd-worker-7@7-1.service",
    "trapd-worker-a-b@7-1.service",
    "trapd-worker-gpu@7-1.timer",
    "trapd-worker-gpu@x\\x2d1.service",
    "trapd-notify-mail.service",
    "trapd-notify-Mail@17.service",
    "xtrapd-notify-mail@17.service",
)
NOTIFYING = "trapd-notify-long@17.service"
OTHERS = (
    "trapd.service",
    "trapd.slice",
    "trapd-workers.slice",
    "trapd-shutdown.service",
    "other.service",
    "dbus.service",
    "polkit.service",
    "systemd-logind.service",
    "rescue.target",
)


@pytest.fixture(scope="module")
def machine(boot_for_module: Boot, installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    seed = unit_files.lay_out(tmp_path_factory.mktemp("seed"), SETTINGS, celeryconfig=SECRET)
    unit_files.stand_in(seed)
    machine = boot_for_module(
        binds=installation.binds,
        seed=seed,
        prepare=f"{unit_files.PREPARE}\nuseradd -m -u 3001 ann; useradd -u 3002 -G trapd olga\n",
    )
    run = "[Service]\nExecStart=sleep infinity\n"
    for name in ("other", "trapd-worker", "trapd-worker-gpu", "trapd-workers-gpu@", "xtrapd-worker-gpu@"):
        machine.put(f"/etc/systemd/system/{name}.service", run)
    for name in ("trapd-worker-Gpu@", "trapd-worker-7@", "trapd-worker-a-b@"):
        machine.put(f"/etc/systemd/system/{name}.service", run)
    for name in ("trapd-notify-long@", "trapd-notify-mail", "trapd-notify-Mail@", "xtrapd-notify-mail@"):
        machine.put(f"/etc/systemd/system/{name}.service", run)
    machine.put("/etc/systemd/system/trapd-worker-gpu@.timer", "[Timer]\nOnActiveSec=1d\n")
    machine.put("/home/ann/data", "ann's", mode=0o644, owner="ann:ann")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "trapd", "other", "polkit")
    machine.run("systemctl", "start", *ALIKE)  # some are workers of no generation, and fail
    return machine


def as_trapd(machine: Machine, *command: str) -> str:
    """What became of it: "yes", or why not."""
    done = machine.run(*command, user="trapd")
    if done.code == 0:
        return "yes"
    words = done.err + done.out
    for refusal in ("Access denied", "Interactive authentication required", "Permission denied"):
        if refusal in words:
            return "no"
    return words


# --- what trapd may do to units -------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [OWN, "trapd-worker-default@7-30.service"])
def test_trapd_may_manage_its_own_workers(machine: Machine, unit: str) -> None:
    machine.systemctl("stop", unit)
    manager = ["busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    manager += ["org.freedesktop.systemd1.Manager"]
    allowed = {
        "start": ["systemctl", "start", unit],
        "restart": ["systemctl", "restart", unit],
        "kill": ["systemctl", "kill", "--signal=SIGCONT", unit],
        "ref": [*manager, "RefUnit", "s", unit],
        "stop": ["systemctl", "stop", unit],
        "look": ["systemctl", "show", unit],
        "list": ["systemctl", "list-units", "trapd-worker-*"],
    }
    assert {what: as_trapd(machine, *command) for what, command in allowed.items()} == dict.fromkeys(allowed, "yes")


def test_trapd_may_reset_a_failed_worker(machine: Machine) -> None:
    unit = "trapd-worker-gpu@99-1.service"  # there is no such generation
    assert "exited with error code" in as_trapd(machine, "systemctl", "start", unit)
    assert machine.show(unit, "ActiveState", "ExecMainStatus") == {"ActiveState": "failed", "ExecMainStatus": "78"}
    assert as_trapd(machine, "systemctl", "reset-failed", unit) == "yes"
    assert machine.show(unit, "ActiveState") == {"ActiveState": "inactive"}


def test_trapd_may_start_what_notifies_of_its_events_and_nothing_else_of_it(machine: Machine) -> None:
    assert as_trapd(machine, "systemctl", "start", NOTIFYING) == "yes"
    verbs = ("stop", "restart", "kill", "reset-failed")
    assert {verb: as_trapd(machine, "systemctl", verb, NOTIFYING) for verb in verbs} == dict.fromkeys(verbs, "no")
    assert as_trapd(machine, "systemctl", "start", "trapd-notify-long@x.service") == "no"


@pytest.mark.parametrize("unit", [*ALIKE, *OTHERS])
def test_trapd_may_do_nothing_to_any_other_unit(machine: Machine, unit: str) -> None:
    verbs = (["start"], ["stop"], ["restart"], ["kill"], ["reset-failed"])
    assert {verb[0]: as_trapd(machine, "systemctl", *verb, unit) for verb in verbs} == {verb[0]: "no" for verb in verbs}


DENIED = {
    "reload": ["systemctl", "reload", OWN],
    "try-restart": ["systemctl", "try-restart", OWN],
    "reload-or-restart": ["systemctl", "reload-or-restart", OWN],
    "freeze": ["systemctl", "freeze", OWN],
    "clean": ["systemctl", "clean", "--what=cache", OWN],
    "set-property": ["systemctl", "set-property", "--runtime", OWN, "MemoryMax=infinity"],
    "set-property of the slice": ["systemctl", "set-property", "--runtime", "trapd-workers.slice", "CPUWeight=100"],
    "isolate": ["systemctl", "isolate", "rescue.target"],
    "reset-failed of all": ["systemctl", "reset-failed"],
    "daemon-reload": ["systemctl", "daemon-reload"],
    "daemon-reexec": ["systemctl", "daemon-reexec"],
    "enable": ["systemctl", "enable", "trapd"],
    "mask": ["systemctl", "mask", OWN],
    "link": ["systemctl", "link", "/tmp/evil.service"],
    "set-environment": ["systemctl", "set-environment", "A=b"],
    "reboot": ["systemctl", "reboot"],
    "a transient service": ["systemd-run", "--no-ask-password", "true"],
    "a transient service with a name of ours": ["systemd-run", "--no-ask-password", "--unit=trapd-worker-x@1-1", "id"],
    "a transient service that seems to notify": ["systemd-run", "--no-ask-password", "--unit=trapd-notify-x@1", "id"],
    "a transient scope": ["systemd-run", "--no-ask-password", "--scope", "true"],
    "a transient timer": ["systemd-run", "--no-ask-password", "--on-active=1", "true"],
}


@pytest.mark.parametrize("command", DENIED.values(), ids=DENIED)
def test_trapd_may_do_nothing_else(machine: Machine, command: list[str]) -> None:
    machine.systemctl("start", OWN)
    before = machine.show(OWN, "InvocationID", "ActiveState", "MemoryMax")
    machine.put("/tmp/evil.service", "[Service]\nExecStart=true\n")
    if command[0] == "systemctl":
        command = ["systemctl", "--no-ask-password", *command[1:]]
    assert as_trapd(machine, *command) == "no"
    assert machine.show(OWN, "InvocationID", "ActiveState", "MemoryMax") == before


@pytest.mark.parametrize("user", ["trapd-worker", "ann"])
def test_nobody_else_may_manage_the_workers(machine: Machine, user: str) -> None:
    for verb in ("start", "stop", "restart", "kill"):
        done = machine.run("systemctl", "--no-ask-password", verb, OWN, user=user)
        assert done.code != 0
        assert "authentication required" in done.err


# --- what a task may do ---------------------------------------------------------------------------------------------

SANDBOX: dict[str, tuple[str, Any]] = {  # probe -> expression, what must come of it
    "the system bus": ("socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')", "PermissionError"),
    "the bus's folder": ("os.listdir('/run/dbus')", "PermissionError"),
    "PID 1's private socket": ("socket.socket(socket.AF_UNIX).connect('/run/systemd/private')", "PermissionError"),
    "trapd's history": ("open('/var/lib/trapd/history.sqlite').read(1)", "PermissionError"),
    "to list trapd's state": ("os.listdir('/var/lib/trapd')", "PermissionError"),
    "to change its own code": ("open('/var/lib/trapd/generations/7/code/sample.py', 'a')", "PermissionError"),
    "to make a generation": ("os.mkdir('/var/lib/trapd/generations/8')", "OSError"),
    "its code": ("open('/var/lib/trapd/generations/7/code/sample.py').read()", unit_files.SAMPLE),
    "its celeryconfig": ("open('/var/lib/trapd/generations/7/etc/celeryconfig.py').read()", SECRET),
    "to replace trapd's socket": ("os.mkdir('/run/trapd/x')", "PermissionError"),
    "another user's file": ("open('/home/ann/data').read()", "PermissionError"),
    "to look into /home": ("os.listdir('/home')", "PermissionError"),
    "root's home": ("os.listdir('/root')", "PermissionError"),
    "which folders are hidden (trapd/distribute/sight.py)": (
        "sorted({place for _, _, _, root, place, *_ in map(str.split, open('/proc/self/mountinfo')) if "
        "not place.startswith('/run/') and (root.endswith('/inaccessible/dir') or '/systemd-private-' in root)})",
        ["/home", "/root", "/tmp", "/var/tmp"],
    ),
    "password hashes": ("open('/etc/shadow').read()", "PermissionError"),
    "to write to /etc": ("open('/etc/x', 'w')", "OSError"),
    "to write to /opt": ("open('/opt/trapd/x', 'w')", "OSError"),
    "to write to /var/tmp of others": ("os.path.exists('/var/tmp/of-root')", False),
    "processes of others": ("os.path.exists('/proc/1/status')", False),
    "devices": ("open('/dev/kmsg')", "FileNotFoundError"),
    "more rights by setuid": ("'NoNewPrivs:\\t1' in open('/proc/self/status').read()", True),
    "any capability": ("'CapBnd:\\t0000000000000000' in open('/proc/self/status').read()", True),
    "a namespace": ("__import__('ctypes').CDLL(None).unshare(0x10000000)", -1),
    "its user": ("os.popen('id -un').read()", "trapd-worker\n"),
    # what tasks need
    "code that writes code (numba)": ("bool(__import__('mmap').mmap(-1, 4096, prot=7))", True),
    "a callback from C": ("__import__('ctypes').CFUNCTYPE(None)(lambda: None)() is None", True),
    "its priority": ("-os.nice(0) + os.nice(1)", 1),
    "its processors": ("os.sched_setaffinity(0, os.sched_getaffinity(0)) is None", True),
    "memory's size": ("'MemTotal' in open('/proc/meminfo').read()", True),
    "interfaces": ("'lo' in [name for _, name in socket.if_nameindex()]", True),
    "a broker over TCP": ("socket.socket(socket.AF_INET).connect_ex(('127.0.0.1', 9))", 111),
    "shared memory": (
        "__import__('multiprocessing.shared_memory').shared_memory.SharedMemory(create=True, size=9).size",
        9,
    ),
    "a semaphore": ("__import__('multiprocessing').Semaphore().acquire()", True),
    "a file in its home": ("Path.home().joinpath('x').write_text('x')", 1),
    "a file in its cache": ("Path(os.environ['NUMBA_CACHE_DIR']).mkdir() is None", True),
    "a file in /tmp": ("Path('/tmp/x').write_text('x')", 1),
}


@pytest.fixture(scope="module")
def probed(machine: Machine) -> dict[str, Any]:
    """What a worker found when it tried."""
    machine.put("/var/tmp/of-root", "")
    machine.put("/etc/probes.json", json.dumps({name: probe for name, (probe, _) in SANDBOX.items()}))
    machine.sh("rm -rf /var/cache/trapd-worker/*").check()
    machine.systemctl("restart", "trapd-worker-default@7-1")
    found: dict[str, Any] = json.loads(machine.read("/run/trapd-worker/instances/default@7-1.json"))
    return found


@pytest.mark.parametrize(("probe", "wanted"), [(name, wanted) for name, (_, wanted) in SANDBOX.items()], ids=SANDBOX)
def test_a_task_in_its_sandbox(probed: dict[str, Any], probe: str, wanted: object) -> None:
    assert probed[probe] == wanted


# --- secrets and state ----------------------------------------------------------------------------------------------

MODES = {
    "/etc/trapd": "drwxr-xr-x root trapd",
    "/etc/trapd/celeryconfig.py": "-rw-r----- root trapd-worker",
    "/etc/trapd/units.last-good": "drwxr-xr-x root root",
    "/run/trapd-units.last-good": "drwxr-xr-x root root",
    "/var/lib/trapd": "drwx--x--x trapd trapd",
    "/var/lib/trapd/history.sqlite": "-rw------- trapd trapd",
    "/var/lib/trapd/generations": "drwxr-s--- trapd trapd-worker",
    "/var/lib/trapd/generations/7/etc/celeryconfig.py": "-r--r----- trapd trapd-worker",
    "/var/lib/trapd/generations/7/manifest.json": "-r--r----- trapd trapd-worker",
    "/var/lib/trapd-worker": "drwx------ trapd-worker trapd-worker",
    "/var/cache/trapd-worker": "drwx------ trapd-worker trapd-worker",
    "/run/trapd": "drwxr-xr-x trapd trapd",
    "/run/trapd-worker/instances": "drwxr-x--- trapd-worker trapd-worker",
}


def test_everything_belongs_to_whom_it_should(machine: Machine) -> None:
    machine.systemctl("start", OWN)
    found = machine.run("stat", "-c", "%n %A %U %G", *MODES).check().splitlines()
    assert dict(line.split(" ", 1) for line in found) == MODES


@pytest.mark.parametrize(
    ("user", "may"), [("root", True), ("trapd-worker", True), ("trapd", True), ("ann", False), ("nobody", False)]
)
def test_the_brokers_password_is_for_the_workers_and_who_keeps_them(machine: Machine, user: str, may: bool) -> None:
    live, copy = "/etc/trapd/celeryconfig.py", "/var/lib/trapd/generations/7/etc/celeryconfig.py"
    assert [machine.run("cat", path, user=user).code == 0 for path in (live, copy)] == [may, may]


def test_trapd_can_read_what_workers_report_and_cannot_be_impersonated(machine: Machine) -> None:
    machine.systemctl("start", OWN)
    report = f"/run/trapd-worker/instances/{OWN.removeprefix('trapd-worker-').removesuffix('.service')}.json"
    assert {user: machine.run("cat", report, user=user).code == 0 for user in ("trapd", "ann")} == {
        "trapd": True,
        "ann": False,
    }
    assert machine.run("touch", report, user="trapd").code != 0


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("root", "actor='root', admin=True"),
        ("trapd", "admin=True"),
        ("trapd-worker", "admin=False"),
        ("ann", "actor='ann (uid 3001)', admin=False"),
        ("olga", "actor='olga (uid 3002)', admin=True"),
    ],
)
def test_trapd_sees_in_its_sandbox_who_calls_it(machine: Machine, user: str, answer: str) -> None:
    """In a user namespace (PrivateUsers=) every caller but root would be "nobody"."""
    call = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/trapd/who.sock'); print(s.recv(999))"
    assert answer in machine.run("/usr/bin/python3", "-c", call, user=user).check()


def test_a_member_of_group_trapd_is_told_which_group_may_read_the_celeryconfig(machine: Machine) -> None:
    for command in (("check",), ("celery", "inspect", "ping")):
        done = machine.run("/opt/trapd/bin/trapctl", *command, user="olga")
        assert done.code == 4
        assert "user olga may not read /etc/trapd/celeryconfig.py (mode 0640)" in done.err
        assert "usermod --append --groups trapd-worker olga" in done.err


def test_trapd_can_read_the_journal_and_what_is_the_workers(machine: Machine) -> None:
    pid = machine.show("trapd", "MainPID")["MainPID"]
    groups = machine.sh(f"grep ^Groups: /proc/{pid}/status").check().split()[1:]
    wanted = machine.sh("getent group trapd-worker systemd-journal | cut -d: -f3").check().split()
    assert set(wanted) <= set(groups)


def test_folders_that_somebody_removed_are_there_again_after_a_restart(machine: Machine) -> None:
    machine.systemctl("stop", "trapd")
    machine.sh("rm -rf /var/lib/trapd /run/trapd").check()
    machine.systemctl("start", "trapd")
    assert machine.run("stat", "-c", "%A %U %G", "/var/lib/trapd/generations").out == "drwxr-s--- trapd trapd-worker\n"
    machine.systemctl("restart", OWN)
