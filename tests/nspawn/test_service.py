"""The service's life on a real systemd with real Celery workers: what stops them, and what never does.

One machine for all, with Redis. Each test finds trapd running and its workers current, on whatever version of the
application the test before left.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.nspawn.conftest import Boot
from tests.support import fake_main_line, pinned
from tests.support.daemon import Status, settled_on
from tests.support.installation import Installation
from tests.support.sample import Entry, good, parse_ledger
from tests.support.service import CELERYCONFIG, PLACE, TOML, Service, at_rest, pip, pip_uninstall, redis
from trapd.control.commands import PARAMETERS, TABLE, Access
from trapd.control.protocol import Code
from trapd.ctl.run import APPLICATION

POOLS: dict[str, dict[str, object]] = {
    "pools.default": {"workers": 2, "concurrency": 2},
    "pools.extra": {"workers": 1, "queues": ["extra"]},
}


@pytest.fixture(scope="module")
def machine_with_trapd(
    boot_for_module: Boot, installation: Installation, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Service:
    service = Service(
        boot_for_module,
        installation=installation,
        environment=environment,
        broker=redis(),
        tables=POOLS,
        seed=tmp_path_factory.mktemp("seed"),
    )
    service.machine.enable_limits()
    return service


@pytest.fixture
def service(machine_with_trapd: Service) -> Iterator[Service]:
    service = machine_with_trapd
    service.machine.systemctl("start", "trapd")
    if (status := service.status()) and any(has_refused(pool) for pool in status["pools"]):
        service.install(service.next_version())  # a test that failed has left what it had installed
    service.wait_until("workers that are current", at_rest)
    yield service
    limit(service, "infinity")
    service.restore()


def has_refused(pool: dict[str, Any]) -> bool:
    return bool(pool["rollout"]) and pool["rollout"]["state"] in ("rejected", "failed")


def instances(status: Status) -> list[dict[str, Any]]:
    return [instance for pool in status["pools"] for instance in pool["instances"]]


def versions(status: Status) -> set[str]:
    return {instance["versions"]["shipyard"] for instance in instances(status)}


# --- stop -----------------------------------------------------------------------------------------------------------


def test_a_stop_waits_for_the_longest_task_and_says_so_meanwhile(service: Service) -> None:
    machine = service.machine
    service.drop_in("trapd.service", "TimeoutStopSec=8")
    service.drop_in("trapd-worker-.service", "TimeoutStopSec=8")
    machine.systemctl("daemon-reload")
    long, short = service.nap(18, 3)  # longer than what trapd asks for at a time
    service.wait_for("start", [long, short])
    stop = threading.Thread(target=machine.systemctl, args=("stop", "trapd"))
    stop.start()
    lines = set()
    while stop.is_alive():
        shown = machine.show("trapd", "StatusText", "SubState")
        if shown["SubState"] == "stop-sigterm":
            lines.add(shown["StatusText"])
        time.sleep(0.5)
    assert {one.id for one in service.ledger() if one.event == "end"} >= {long, short}
    assert service.states() == {}
    assert machine.show("trapd", "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    assert "draining 1 worker, 1 task" in lines
    assert service.ctl("status").code == 3


def begin_to_start(service: Service) -> None:
    service.drop_in("trapd.service", "ExecStartPre=sleep 5")
    service.machine.sh("systemctl daemon-reload; systemctl kill --signal=SIGKILL trapd").check()
    service.wait("a start", lambda: service.machine.show("trapd", "SubState") == {"SubState": "start-pre"}, every=0.1)


def hang(service: Service) -> None:
    service.drop_in("trapd.service", "TimeoutStopSec=2")
    service.machine.sh("systemctl daemon-reload; systemctl kill --signal=SIGSTOP trapd").check()


@pytest.mark.parametrize("trouble", [begin_to_start, hang])
def test_a_stop_stops_the_workers_even_if_trapd_cannot_do_it(
    service: Service, trouble: Callable[[Service], None]
) -> None:
    (nap,) = service.nap(3)
    service.wait_for("start", [nap])
    trouble(service)
    service.machine.systemctl("stop", "trapd")
    service.wait("an end of all workers", lambda: not service.states())
    service.wait_for("end", [nap], timeout=0)
    assert service.machine.show("trapd", "MainPID") == {"MainPID": "0"}


# --- a run that holds the code --------------------------------------------------------------------------------------

HOLDS = "echo generation $TRAPD_PIN_GENERATION; until [ -e /run/end-of-the-run ]; do sleep 0.1; done; exit 7"


@dataclass
class Stage:
    """For tests/support/pinned.py: the run is a unit of a user who may do no more than submit."""

    service: Service

    def begin(self) -> int:
        """Return the generation that is pinned."""
        self.service.machine.put("/opt/the-run", HOLDS)
        options = ["--quiet", "--unit=the-run", "--uid=sue", "-p", "RemainAfterExit=yes"]
        command = ["/opt/trapd/bin/trapctl", "pin", "--pool", "default", "--", "sh", "/opt/the-run"]
        self.service.machine.run("systemd-run", *options, *command).check()
        self.service.wait("the begin of the run", lambda: "generation " in self._said())
        return int(self._said().partition("generation ")[2].split()[0])

    def _said(self) -> str:
        return self.service.machine.journal("-u", "the-run", "--output=cat")

    def wait_until(self, what: str, true: Callable[[Status], bool]) -> Status:
        return self.service.wait_until(what, true)

    def install_next(self) -> None:
        self.service.install(self.service.next_version())

    def restart(self) -> None:
        self.service.wait_until("the end in the pool that is not pinned", self._extra_serves)
        trapd, workers = self.service.pid(), self.service.workers()
        self.service.machine.systemctl("restart", "trapd")
        assert self.service.pid() not in (0, trapd)
        assert self.service.workers() == workers

    def _extra_serves(self, status: Status) -> bool:
        (extra,) = [one for one in status["pools"] if one["name"] == "extra"]
        served = {one["versions"].get("shipyard") for one in extra["instances"]}
        return served == {self.service.version} and bool(extra["rollout"]["ended"])

    def end_the_run(self) -> tuple[int, str]:
        machine = self.service.machine
        machine.sh("touch /run/end-of-the-run").check()
        self.service.wait("its end", lambda: machine.show("the-run", "ActiveState") == {"ActiveState": "failed"})
        return int(machine.show("the-run", "ExecMainStatus")["ExecMainStatus"]), self._said()


@pytest.fixture
def stage(service: Service) -> Iterator[Stage]:
    service.machine.sh("useradd --groups trapd-submit sue").check()
    yield Stage(service)
    service.machine.sh("systemctl stop the-run; systemctl reset-failed; userdel sue").check()


def test_an_upgrade_waits_for_the_run_over_a_restart_of_trapd(service: Service, stage: Stage) -> None:
    old = service.version
    pinned.an_upgrade_waits(stage, stage.begin())
    pinned.the_pin_is_kept_over_a_restart(stage, old, service.version, 2)


# --- a run of Trap --------------------------------------------------------------------------------------------------

SERIES = {"0.fits": "0.5", "1.fits": "0.5 0.25", "2.fits": "!ValueError('no pixels')", "3_fit.fits": "0.75"}
LAST = "/srv/images/3_fit.fits"  # which takes as long as a file beside it is there
HELD = f"""
import time

_read = read_pyse_image


def read_pyse_image(path, **options):
    while path == "{LAST}" and os.path.exists(path + ".held"):
        time.sleep(0.05)
    return _read(path, **options)
"""
RUN = ("/opt/trapd/bin/trapctl", "run", "--", "-i", "/srv/images", "--db_name", "series.sqlite")
ROWS = """
import json, sqlite3
connection = sqlite3.connect("/home/sue/series.sqlite")
print(json.dumps([connection.execute(statement).fetchall() for statement in (
    "select flux, forced from extracted_sources order by im_id, forced, flux",
    "select state, images, failed, codes, account from trapd_run",
    "select distinct trap, worker is not null, error from trapd_provenance order by error",
)]))
"""


@pytest.fixture
def with_trap(service: Service) -> Iterator[Service]:
    """Its workers are those of a stand-in for Trap; sue may submit, and eve is in no group."""
    machine = service.machine
    files = fake_main_line.in_a_wheel()
    files["trap/source_extraction.py"] += HELD
    machine.sh(pip(service.put("trap", "1.4.0", files))).check()
    machine.sh("useradd --create-home --groups trapd-submit sue; useradd --create-home eve").check()
    for name, text in {**SERIES, f"{Path(LAST).name}.held": ""}.items():
        machine.put(f"/srv/images/{name}", text)
    app = {"app": APPLICATION, "python": f"{PLACE}/bin/python"}
    service.configure(app=app, watch={"distributions": ["trap"]}, **{"pools.extra": None})
    service.reload()
    of_trap = settled_on("1.4.0", 2, "trap")
    service.wait_until("workers of Trap", lambda status: at_rest(status) and of_trap(status))
    yield service
    machine.sh("rm -r /srv/images; systemctl stop series; userdel --remove sue; userdel --remove eve").check()
    service.configure()
    service.reload()
    service.wait_until("workers of the ships", lambda status: at_rest(status) and versions(status) == {service.version})
    machine.sh(pip_uninstall("trap")).check()


def test_a_member_of_trapd_submit_runs_trap_on_the_service_and_others_are_told_whom_to_ask(with_trap: Service) -> None:
    """docs/users.md: with an account of their own, because they may not read the service's."""
    machine = with_trap.machine
    refused = machine.run("env", "--chdir=/home/eve", *RUN, user="eve")
    assert (refused.code, refused.out) == (4, "")
    assert re.fullmatch(
        r"trapctl: cannot run trapctl pin: eve \(uid \d+\) may only look; run it as root or as a member of group "
        "trapd-submit or trapd\n",
        refused.err,
    )
    alone = machine.run("env", "--chdir=/home/sue", *RUN, user="sue")
    assert (alone.code, alone.out) == (4, "")
    assert "put a celeryconfig.py of your own into this folder, as docs/users.md shows" in alone.err
    assert "user sue may not read /etc/trapd/celeryconfig.py" in alone.err

    machine.put("/home/sue/celeryconfig.py", with_trap.broker.celeryconfig(), owner="sue:sue")
    options = ["--quiet", "--unit=series", "--uid=sue", "--working-directory=/home/sue", "-p", "RemainAfterExit=yes"]
    machine.run("systemd-run", *options, *RUN).check()

    def said() -> str:
        return machine.journal("-u", "series", "--output=cat")

    with_trap.wait("the last image's turn", lambda: "REJECTED /srv/images/2.fits" in said())
    shown = with_trap.ctl("status")
    assert shown.code == 0
    assert re.search(rf"pinned .*generation \d+ by sue \(uid \d+\).*{' '.join(RUN[1:])}", shown.out), shown.out
    machine.sh(f"rm {LAST}.held").check()
    with_trap.wait("its end", lambda: machine.show("series", "ActiveState") == {"ActiveState": "failed"})
    assert machine.show("series", "ExecMainStatus") == {"ExecMainStatus": "23"}, said()
    assert "using what is installed now, with your own celeryconfig.py, because user sue may not read" in said()
    sources, of_run, answers = json.loads(machine.run("/usr/bin/python3", "-c", ROWS, user="sue").check())
    assert sources == [[0.5, 0], [0.25, 0], [0.5, 0], [0.75, 0], [0.125, 1]]
    assert of_run == [["partial", 4, 1, 1, "sue"]]
    error = "cannot extract sources from /srv/images/2.fits: ValueError: no pixels"
    assert answers == [["1.4.0", 1, None], ["1.4.0", 1, error]]
    with_trap.wait_until("an end of the pin", lambda status: status["pools"][0]["pins"] == [])

    machine.put("/home/sue/mine/0.fits", "0.5", owner="sue:sue")
    mine = ("-i", "/home/sue/mine", "--db_name", "mine.sqlite")
    unseen = machine.run("env", "--chdir=/home/sue", *RUN[:3], *mine, user="sue")
    assert unseen.code == 24, unseen.err
    assert re.search(r"/home.* are hidden from workers, which run as user trapd-worker; move the file", unseen.err)


# --- who may command ------------------------------------------------------------------------------------------------

ASK = """#!/usr/bin/python3
import json, pathlib, socket
answers = {}
for method, params in json.loads(pathlib.Path("/etc/trapd/asked.json").read_text()).items():
    with socket.socket(socket.AF_UNIX) as trapd:
        trapd.connect("/run/trapd/control.sock")
        trapd.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\\n")
        answers[method] = json.loads(trapd.makefile().readline())
pathlib.Path.home().joinpath("answers.json").write_text(json.dumps(answers))
"""


def test_who_runs_in_a_workers_sandbox_may_ask_trapd_and_not_command_it(service: Service) -> None:
    machine = service.machine
    commands = {
        one.name: {p.name: "extra" for p in PARAMETERS[one.name] if p.required}
        for one in TABLE
        if one.access is Access.ADMIN
    }
    machine.put("/usr/local/bin/ask", ASK, mode=0o755)
    machine.put("/etc/trapd/asked.json", json.dumps({"status": {}, **commands}))
    service.drop_in("trapd-worker-.service", "ExecStartPre=/usr/local/bin/ask")
    machine.systemctl("daemon-reload")
    service.ctl("recycle", "extra", "--wait").check()
    pools = service.status()["pools"]
    answers = json.loads(machine.read("/var/lib/trapd-worker/answers.json"))
    assert {one["name"] for one in answers.pop("status")["result"]["pools"]} == {"default", "extra"}
    assert answers.keys() == commands.keys() >= {"recycle", "retry", "scale", "rollout.pause", "rollout.undo"}
    verbs = {one.name: one.verb for one in TABLE}
    for method, answer in answers.items():
        error = answer["error"]
        assert error["code"] == Code.NOT_PERMITTED
        assert error["message"].startswith(f"cannot run trapctl {verbs[method]}: trapd-worker (uid ")
        assert error["message"].endswith("may only look; run it as root or as a member of group trapd")
    assert [(one["paused"], one["wanted"]) for one in pools] == [(False, 2), (False, 1)]


# --- what is no stop ------------------------------------------------------------------------------------------------


def test_a_restart_leaves_the_workers_to_the_next_trapd(service: Service) -> None:
    before, pid = service.workers(), service.pid()
    service.machine.systemctl("restart", "trapd")
    assert service.pid() != pid
    assert service.workers() == before
    status = service.wait_until("its workers current", at_rest)
    assert {one["name"]: one["pid"] for one in status["pools"][0]["instances"]}.items() <= before.items()
    assert service.ctl("status").code == 0


def kill(service: Service) -> None:
    service.machine.systemctl("kill", "--signal=SIGKILL", "trapd")


def terminate(service: Service) -> None:
    """Not by systemd: nobody asked for a stop."""
    service.machine.run("kill", str(service.pid())).check()


def freeze(service: Service) -> None:
    service.drop_in("trapd.service", "WatchdogSec=2")
    service.machine.sh("systemctl daemon-reload; systemctl restart trapd").check()
    service.machine.systemctl("kill", "--signal=SIGSTOP", "trapd")


FILL = """
import os, select, sys
top = "/sys/fs/cgroup/memory" if os.path.exists("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"
victim = select.poll()
victim.register(os.pidfd_open(int(sys.argv[2])), select.POLLIN)
with open(f"{top}{sys.argv[1]}/cgroup.procs", "w") as procs:
    procs.write("0")
filled = os.memfd_create("filled")
while not victim.poll(0):
    os.write(filled, bytes(2**20))
"""


def starve(service: Service) -> None:
    """The kernel does it: memory runs out in trapd's cgroup. What fills it has less of its own than trapd has, and may
    die as well: the kernel goes on as long as memory is short, and trapd has then not yet given back what it had."""
    service.drop_in("trapd.service", "MemoryMax=128M")
    service.machine.systemctl("daemon-reload")
    shown = service.machine.show("trapd", "ControlGroup", "MainPID")
    service.machine.run("/usr/bin/python3", "-c", FILL, shown["ControlGroup"], shown["MainPID"])


@pytest.mark.parametrize("disaster", [kill, terminate, freeze, starve])
def test_the_death_of_trapd_touches_no_worker(service: Service, disaster: Callable[[Service], None]) -> None:
    before, pid = service.workers(), service.pid()
    (nap,) = service.nap(3)
    service.wait_for("start", [nap])
    disaster(service)
    service.wait("another trapd", lambda: service.pid() not in (0, pid))
    service.wait_until("its workers current", at_rest)
    assert service.workers() == before
    service.wait_for("end", [nap])


HISTORY = "/var/lib/trapd/history.sqlite"
CUT = f"size=$(stat -c %s {HISTORY}); truncate -s $((size / 8192 * 4096 + {{}})) {HISTORY}"


def told(service: Service) -> int:
    """How often trapd said that its history is damaged, and what to do."""
    said = service.machine.journal("-u", "trapd").splitlines()
    return sum(f"the history {HISTORY}: " in line and "move it away, with the -wal" in line for line in said)


@pytest.mark.parametrize("beyond", [0, 1000], ids=["at the end of a page", "within a page"])
def test_a_history_that_was_cut_in_the_middle_is_told_and_touches_no_worker(service: Service, beyond: int) -> None:
    """trapd does not start with it, and says what to do. Then it knows no generation, makes a new one of what is
    installed and replaces the workers, new before old."""
    machine, already = service.machine, told(service)
    before, pid = service.workers(), service.pid()
    (nap,) = service.nap(15)
    service.wait_for("start", [nap])
    machine.put("/srv/cut", f"[ -e /srv/cut.done ] || {{ {CUT.format(beyond)}; echo $size >/srv/cut.done; }}\n")
    machine.sh("rm -f /srv/cut.done").check()
    service.drop_in("trapd.service", "ExecStartPre=+/bin/sh /srv/cut")
    machine.sh("systemctl daemon-reload; systemctl kill --signal=SIGKILL trapd").check()
    service.wait("the cut", lambda: machine.exists("/srv/cut.done"))
    assert int(machine.read("/srv/cut.done")) >= 8192
    service.wait("the reason, and another try", lambda: told(service) > already + 1)
    assert service.status() == {}
    assert service.workers() == before
    machine.sh(f"mkdir -p /srv/old; mv {HISTORY}* /srv/old").check()
    service.wait("another trapd", lambda: service.pid() not in (0, pid))
    service.wait_until("its workers current", at_rest)
    assert service.workers().keys().isdisjoint(before), "no number is used twice"
    service.wait_for("end", [nap])
    assert [entry.event for entry in service.ledger() if entry.id == nap] == ["start", "end"]


def test_a_restart_starts_no_worker_though_the_boot_had_none_to_start(service: Service) -> None:
    """The boot of this machine was before there was any generation. Its unit has been done with all the same."""
    assert service.machine.show("trapd-boot", "ActiveState") == {"ActiveState": "active"}


# --- what systemd and people do to workers --------------------------------------------------------------------------


def test_a_worker_that_systemd_starts_again_has_its_generations_code_whatever_is_on_the_disk(service: Service) -> None:
    machine, version, package = service.machine, service.version, f"{service.site_packages()}/shipyard"
    service.drop_in("trapd.service", "RestartSec=1h")  # so that systemd has to do it alone
    machine.sh(f"systemctl daemon-reload; systemctl kill --signal=SIGKILL trapd; rm {package}/hull.py").check()
    machine.put(f"{package}/jobs.py", "nonsense")
    before = service.workers()
    machine.run("kill", "-9", *map(str, before.values())).check()
    old, all_active = set(before.values()), dict.fromkeys(before, "active")  # which the killed ones are for a moment
    service.wait(
        "all of them again", lambda: not old & set(service.workers().values()) and service.states() == all_active
    )
    after = service.workers()
    ends = service.wait_for("end", service.nap(0.1, 0.1))
    assert {(one.version, one.lazy) for one in ends} == {(version, version)}
    machine.systemctl("restart", "trapd")
    status = service.wait_until("a look at the disk", lambda status: status["disk"]["state"] != "settled")
    assert {one["name"]: one["pid"] for one in instances(status)} == after
    assert {one["code"] for one in instances(status)} == {"current"}
    service.install(version)


STOPS_IN_THE_MIDDLE = """
import os, pathlib, signal, sys

def stop(event, arguments):
    if event == "open" and "w" in str(arguments[1]) and str(arguments[0]).endswith("/shipyard/jobs.py"):
        pathlib.Path("/run/stopped").touch()
        os.kill(os.getpid(), signal.SIGSTOP)

sys.addaudithook(stop)
"""


def test_a_restart_by_hand_in_the_middle_of_pip_gives_working_workers(service: Service) -> None:
    machine, version, before = service.machine, service.version, service.workers()
    new = service.next_version()
    machine.put("/srv/hook/sitecustomize.py", STOPS_IN_THE_MIDDLE)
    command = f"PYTHONPATH=/srv/hook {pip(service.put_wheel(new))}"
    machine.run("systemd-run", "--quiet", "--unit=pip", "sh", "-euc", command).check()
    service.wait("pip in the middle", lambda: machine.exists("/run/stopped"))
    assert machine.sh(f"ls -d {service.site_packages()}/~hipyard").code == 0
    machine.run("systemctl", "restart", "trapd-worker-default@*")
    ends = service.wait_for("end", service.nap(0.1, 0.1))
    assert {(one.version, one.lazy) for one in ends} == {(version, version)}
    stayed = {name for name, pid in before.items() if pid in service.workers().values()}
    assert not {name for name in stayed if not name.startswith("extra@")}
    service.wait_until("word of the change", lambda status: status["disk"]["state"] == "changing")
    machine.systemctl("kill", "--signal=SIGCONT", "pip")
    service.wait_until("the new version", lambda status: at_rest(status) and settled_on(new, 2)(status))
    assert len(service.states()) == 3


EATER = """

@app.task(name="shipyard.eat")
def eat():
    eaten = [b"x" * 2**20 for _ in range(400)]
"""


def of_children(service: Service, worker: str) -> list[Any]:
    return [event for event in service.events(worker) if event["kind"] in ("child-lost", "child-oom-killed")]


@pytest.mark.parametrize(("celery_pool", "stays"), [("prefork", True), ("solo", False)])
def test_a_task_that_eats_all_memory_costs_at_most_its_own_worker(
    service: Service, celery_pool: str, stays: bool
) -> None:
    """The kernel kills who eats: Celery replaces its child, systemd starts a main process again."""
    files = good(version := service.next_version())
    files["shipyard/jobs.py"] += EATER
    service.install(version, files)
    greedy = {**POOLS["pools.extra"], "concurrency": 1, "celery_pool": celery_pool, "systemd": {"MemoryMax": "256M"}}
    service.configure(**{"pools.extra": greedy})
    service.reload()
    service.wait_until("both pools on it", lambda status: at_rest(status) and versions(status) == {version})
    service.machine.sh(f"rm {service.site_packages()}/shipyard/hull.py").check()
    (first,) = service.wait_for("end", service.nap(0.1, queue="extra"))
    before = service.workers()
    (nap,) = service.nap(6)
    service.wait_for("start", [nap])
    service.ctl("celery", "call", "shipyard.eat", "--queue", "extra").check()
    service.wait("the end of who eats", lambda: not service.machine.exists(f"/proc/{first.pid}"))
    (second,) = service.wait_for("end", service.nap(0.1, queue="extra"))
    assert second.pid != first.pid
    assert (second.version, second.lazy) == (version, version)
    service.wait_for("end", [nap])
    after = service.workers()
    lost = {name.partition("@")[0] for name, pid in before.items() if after.get(name) != pid}
    assert lost == (set() if stays else {"extra"})
    # which is not told of a run that has just begun, or if systemd does not answer in time
    known = service.wait_until("its memory", lambda status: all(one["memory"] for one in instances(status)))
    (extra,) = [one for one in instances(known) if one["name"].startswith("extra@")]
    assert (extra["memory"]["limit"], extra["slots"]) == (256 << 20, 1)
    assert 10 << 20 < extra["memory"]["used"] <= 256 << 20
    ends = [event for event in service.events(extra["name"]) if event["kind"] in ("crashed", "oom-killed")]
    # systemd sees that the kernel did it where memory is of cgroups of version 2
    why = [str(event["reason"]).partition("; it had ")[0] for event in ends]
    assert [words.endswith((": out of memory", "out of memory?")) for words in why] == [True][stays:]
    if stays:  # the kernel counts for the worker's control group, version 1 or 2, and the worker reads that
        service.wait("word of the child", lambda: of_children(service, extra["name"]))
        [lost] = of_children(service, extra["name"])
        assert lost["kind"] == "child-oom-killed", lost["reason"]
        assert "shipyard.eat" in lost["reason"]
    service.install(version, files)


def test_a_rollout_waits_for_memory_that_the_slice_does_not_leave(service: Service) -> None:
    """Where a control group limits all workers, the kernel would kill a good one for one more."""
    version, before = service.next_version(), service.workers()
    used = service.machine.sh(USED_BY_WORKERS).check()
    limit(service, str(int(used) + (8 << 20)))  # a worker takes more than that
    service.install(version)
    told = service.wait_until("what it waits for", lambda status: "memory for" in json.dumps(status["pools"]))
    assert "are free, and a worker needs" in json.dumps(told["pools"])
    assert service.ctl("rollout", "status", "--timeout", "1s").code == 75
    assert service.workers() == before
    limit(service, "infinity")
    service.wait_until("workers on the new code", lambda status: at_rest(status) and versions(status) == {version})
    assert not [
        event for name in before for event in service.events(name) if event["kind"] in ("crashed", "oom-killed")
    ]


USED_BY_WORKERS = """python3 -c '  # without pages of files, which the kernel takes back
import pathlib
(slice, *_) = pathlib.Path("/sys/fs/cgroup").rglob("trapd.slice/trapd-workers.slice/memory.stat")
fields = dict(map(str.split, slice.read_text().splitlines()))
used = [slice.parent / name for name in ("memory.usage_in_bytes", "memory.current")]
(used,) = (int(file.read_text()) for file in used if file.exists())
total = "total_" if "total_active_file" in fields else ""
print(used - int(fields[total + "active_file"]) - int(fields[total + "inactive_file"]))'
"""


def limit(service: Service, amount: str) -> None:
    service.machine.systemctl("set-property", "--runtime", "trapd-workers.slice", f"MemoryMax={amount}")


HOLDS_UP = """

from celery.signals import worker_ready


@worker_ready.connect
def hold_up(**_):
    time.sleep(86400)
"""


# The time of a start is that of the rollout here: on a busy machine either is over first.
LATE = "did not send READY|not proven within progress_deadline"


def test_a_start_that_the_applications_own_handler_holds_up_says_where_and_ends_by_the_deadline(
    service: Service,
) -> None:
    before = service.workers()
    service.configure(rollout={"min_ready": "1s", "progress_deadline": "12s"})
    service.reload()
    files = good(held := service.next_version())
    files["shipyard/jobs.py"] += HOLDS_UP
    service.install(held, files)

    def standing(status: Status) -> bool:
        said = [one["status"] for pool in status["pools"] for one in pool["instances"]]
        return any(text.startswith("starting for ") and ", at jobs.py:" in text for text in said)

    service.wait_until("where it stands", standing)
    status = service.wait_until(
        "its end", lambda status: {pool["rollout"]["state"] for pool in status["pools"]} == {"rejected"}
    )
    assert all(re.search(LATE, pool["rollout"]["reason"]) for pool in status["pools"])
    assert before.items() <= service.workers().items()
    # systemctl status says of refused code what it is, since when, and what to do, for as long as it is installed
    refused = rf"pool default: shipyard {held} is installed and does not run: .*({LATE}).*, at \d{{4}}-.*; "
    remedy = "install other code, or try the same again: trapctl retry default"
    service.wait("the same from systemctl", lambda: re.search(refused + remedy, status_text(service)))
    service.restore()  # good code may take longer to start than that deadline
    service.install(good_one := service.next_version())
    service.wait_until("the next good one", lambda status: at_rest(status) and versions(status) == {good_one})
    service.wait("no word of it any more", lambda: "does not run" not in status_text(service))


def status_text(service: Service) -> str:
    return service.machine.show("trapd", "StatusText")["StatusText"]


SPINS = """

import time

from celery.signals import worker_ready


def spin(*_):
    while True:
        time.sleep(0.01)  # as endless as without, and the machine has something better to do


@worker_ready.connect
def prepare(**_):
    import signal

    signal.signal(signal.SIGURG, spin)
"""


@pytest.mark.long
def test_a_main_process_that_stands_still_or_loops_in_its_drain_is_noticed_in_a_minute_though_its_tasks_run(
    service: Service,
) -> None:
    files = good(spins := service.next_version())
    files["shipyard/jobs.py"] += SPINS
    service.install(spins, files)
    service.wait_until("the version", lambda status: settled_on(spins, 2)(status) and at_rest(status))
    naps = service.nap(*[300] * 8)  # each worker runs two and reserves two; of four a quick one would reserve the third

    def started() -> set[str]:
        return {one.id for one in service.ledger() if one.event == "start"} & {*naps}

    service.wait("tasks in all processes", lambda: len(started()) == 4)
    for waiting in {*naps} - started():
        service.ctl("tasks", "end", waiting).check()
    old = {name: pid for name, pid in service.workers().items() if name.startswith("default")}
    units = [f"trapd-worker-{name}.service" for name in old]

    def states() -> set[str]:
        return {service.machine.show(unit, "SubState")["SubState"] for unit in units}

    service.machine.systemctl("stop", "--no-block", *units)
    time.sleep(75)  # longer than the stop time: their tasks prolong it
    assert states() == {"stop-sigterm"}
    for pid, signal in zip(old.values(), ("STOP", "URG"), strict=True):
        service.machine.run("kill", f"-{signal}", str(pid)).check()
    began = time.monotonic()
    service.wait("the abort", lambda: "stop-sigterm" not in states())
    print(f"noticed after {time.monotonic() - began:.1f} s")
    service.wait("the end", lambda: not states() & {"stop-watchdog", "stop-sigkill", "final-watchdog", "final-sigkill"})
    print(f"gone after {(took := time.monotonic() - began):.1f} s")
    assert took < 75.0
    assert "in spin" in service.machine.journal("-u", units[1])
    service.install(good_one := service.next_version())
    service.wait_until("the next good one", lambda status: at_rest(status) and versions(status) == {good_one})


def test_a_busy_worker_whose_broker_falls_silent_is_left_alone(service: Service) -> None:
    """Redis stands still with its connections open; plain Celery waits for it, and nothing takes that for a hang."""
    service.drop_in("trapd-worker-.service", "WatchdogSec=6")
    service.machine.systemctl("daemon-reload")
    service.ctl("recycle", "--wait").check()
    before = service.workers()
    (nap,) = service.nap(20)
    service.wait_for("start", [nap])
    service.machine.systemctl("kill", "--signal=SIGSTOP", "redis-server")
    try:
        service.wait_until(
            "word of the broker",
            lambda status: any(
                "cannot reach the broker" in one for pool in status["pools"] for one in pool["problems"]
            ),
        )
        service.wait_for("end", [nap])
    finally:
        service.machine.systemctl("kill", "--signal=SIGCONT", "redis-server")
    service.wait_until("all as it should be", at_rest)
    assert service.workers() == before
    service.wait_for("end", service.nap(0))


# what systemd and trapd have to read alike
VARIABLES = """
# a comment
; another
SHIP_NAME=Vasa
SHIP_WORDS=two  words
SHIP_QUOTED="say \\"no\\" \\$5 \\n" 'and more'
SHIP_LONG=one \\
  two
SHIP_LINES='one
two'
SHIP_ODD=it\\'s "here"
SHIP_URL=redis://:p#w@h/0?a=b
SHIP_EMPTY=
"""


# --- beat -----------------------------------------------------------------------------------------------------------


def test_a_beat_sends_each_task_once_over_an_upgrade_and_the_death_of_trapd_and_its_own(service: Service) -> None:
    machine, ledger, period = service.machine, "/var/lib/trapd-worker/beats", 0.5
    schedule = {"nap": {"task": "shipyard.nap", "schedule": period, "args": (0, ledger)}}
    plain = machine.read(CELERYCONFIG)
    machine.put(CELERYCONFIG, f"{plain}\nbeat_schedule = {schedule!r}\n", mode=0o640)
    machine.sh(f"chgrp trapd-worker {CELERYCONFIG}").check()
    machine.put("/etc/trapd/beat.env", VARIABLES, mode=0o640, owner="root:trapd-worker")
    service.configure(**{"pools.beat": {"run": "beat", "environment_file": "beat.env"}})
    service.reload()

    def beats() -> list[Entry]:
        return [one for one in parse_ledger(machine.run("cat", ledger).out) if one.event == "start"]

    service.wait("a beat", lambda: len(beats()) > 2)
    service.wait_until("an end of it", at_rest)
    version = service.next_version()
    service.install(version)
    machine.systemctl("kill", "--signal=SIGKILL", "trapd")
    service.wait_until("all on the new version", lambda status: at_rest(status) and versions(status) == {version})
    (beat,) = [(name, pid) for name, pid in service.workers().items() if name.startswith("beat@")]
    environment = dict(line.split("=", 1) for line in machine.read(f"/proc/{beat[1]}/environ").split("\0") if line)
    theirs = machine.sh("systemd-run -q --wait --pipe -p EnvironmentFile=/etc/trapd/beat.env env -0").check()
    by_systemd = dict(line.split("=", 1) for line in theirs.split("\0") if line.startswith("SHIP_"))
    assert by_systemd == {name: text for name, text in environment.items() if name.startswith("SHIP_")}
    assert by_systemd["SHIP_NAME"] == "Vasa"
    machine.run("kill", "-9", str(beat[1])).check()
    service.wait("another beat, by systemd", lambda: service.workers().get(beat[0], 0) not in (0, beat[1]))
    seen = len(beats())
    service.wait("its tasks", lambda: len(beats()) > seen + 2)
    owners = machine.sh("stat -c %U /var/lib/trapd-worker/pools/beat/celerybeat-schedule*").check().split()
    assert set(owners) == {"trapd-worker"}  # since Python 3.13 it is three files of SQLite
    machine.put(CELERYCONFIG, plain, mode=0o640)
    machine.sh(f"chgrp trapd-worker {CELERYCONFIG}").check()
    service.configure()
    service.reload()

    def plainly(status: Status) -> bool:
        """On the celeryconfig as it was: this change is seen after the reload, and rolls every pool."""
        configs = [f"/var/lib/trapd/generations/{pool['generation']}/etc/celeryconfig.py" for pool in status["pools"]]
        return at_rest(status) and all("beat_schedule" not in machine.read(config) for config in configs)

    service.wait_until("no beat", lambda status: plainly(status) and not any(n[:4] == "beat" for n in service.states()))
    entries = beats()
    assert len({one.id for one in entries}) == len(entries)
    assert min(b.at - a.at for a, b in itertools.pairwise(entries)) > period / 2


# --- which change recycles ------------------------------------------------------------------------------------------


def test_a_library_that_only_a_task_has_imported_recycles_the_workers_once_and_another_one_nobody(
    service: Service,
) -> None:
    """No metadata names it, and the main process of the worker has not imported it."""
    machine, version = service.machine, service.next_version()
    ropes = [service.put("rope", number, {"rope/__init__.py": ""}) for number in ("1.0", "1.1")]
    files = good(version)
    files["shipyard/hull.py"] += "import rope\n"
    machine.sh(pip(f"{ropes[0]} {service.put_wheel(version, files)}")).check()
    service.wait_until("the new version", lambda status: at_rest(status) and settled_on(version, 2)(status))
    service.wait_for("end", service.nap(0.1))
    service.wait_until("word of the library", lambda status: any("rope" in one["loaded"] for one in instances(status)))
    before, number = service.workers(), service.status()["pools"][0]["generation"]

    machine.sh(pip(service.put("kettle", "1.0", {"kettle/__init__.py": ""}))).check()
    nobody = "kettle absent -> 1.0: not required by what is watched, and loaded by no worker"
    service.wait("word of no effect", lambda: nobody in service.ctl("events").out)
    assert service.workers() == before

    machine.sh(pip(ropes[1])).check()
    service.wait_until(
        "the next generation", lambda status: at_rest(status) and status["pools"][0]["generation"] == number + 1
    )
    after = service.workers()
    assert (len(after), set(after) & set(before)) == (len(before), set())
    assert {name.partition("@")[2].partition("-")[0] for name in after} == {str(number + 1)}
    assert "rope 1.0 -> 1.1" in service.ctl("why", "default").out


# --- reload ---------------------------------------------------------------------------------------------------------


def test_an_event_starts_the_unit_of_notify_with_the_number_of_the_event(service: Service) -> None:
    show = "/bin/sh -c '/opt/trapd/bin/trapctl events --id %i --json >/run/event'"
    unit = f"[Service]\nType=oneshot\nExecStart={show}\n"
    service.machine.put("/etc/systemd/system/trapd-notify-mail@.service", unit)
    service.configure(notify={"unit": "mail"})
    service.reload()
    assert service.ctl("notify").check() == "notified trapd-notify-mail@.service\n"
    (event,) = json.loads(service.machine.sh("cat /run/event").check())["events"]
    assert event["kind"] == "notify-test"

    service.configure(notify={"unit": "mail", "command": ["/usr/bin/tee", "/run/trapd/told"]})
    service.reload()
    assert service.ctl("notify").check() == "notified /usr/bin/tee and trapd-notify-mail@.service\n"
    (event,) = json.loads(service.machine.sh("cat /run/event").check())["events"]
    told = json.loads(service.machine.sh("cat /run/trapd/told").check())
    assert told["event"] == event, "the command is told in trapd's sandbox"
    service.machine.put("/etc/systemd/system/trapd-notify-mail@.service", unit.replace(show, "/bin/false"))
    service.machine.sh("systemctl daemon-reload").check()
    failed = service.ctl("notify")
    assert failed.code != 0
    assert re.search(
        r"trapd-notify-mail@\d+\.service ended with 'failed'; see journalctl -u trapd-not", failed.out + failed.err
    )
    assert "cannot notify: trapd-notify-mail@" in service.ctl("status").out


def test_a_reload_rolls_the_pool_whose_settings_changed_and_no_other(service: Service) -> None:
    before = service.workers()
    service.configure(**{"pools.extra": {**POOLS["pools.extra"], "concurrency": 3}})
    service.reload()
    service.wait("another worker", lambda: set(service.workers()) - set(before))
    service.wait_until("an end of it", at_rest)
    after = service.workers()
    assert {name: pid for name, pid in after.items() if name.startswith("default")}.items() <= before.items()
    (extra,) = set(after) - set(before)
    assert extra.startswith("extra@")
    manifest = service.machine.read(f"/var/lib/trapd/generations/{extra[6:].partition('-')[0]}/manifest.json")
    assert json.loads(manifest)["pools"]["extra"]["concurrency"] == 3


def test_a_reload_rolls_the_pool_whose_units_settings_changed(service: Service) -> None:
    before = service.workers()
    service.configure(**{"pools.extra": {**POOLS["pools.extra"], "systemd": {"Nice": 5}}})
    service.reload()
    service.wait("another worker", lambda: set(service.workers()) - set(before))
    service.wait_until("an end of it", at_rest)
    (extra,) = set(service.workers()) - set(before)
    assert service.machine.show(f"trapd-worker-{extra}", "Nice") == {"Nice": "5"}


def test_a_reload_adds_and_removes_pools(service: Service) -> None:
    service.configure(**{"pools.more": {"workers": 1, "queues": ["more"]}, "pools.extra": None})
    before = service.workers()
    service.reload()
    service.wait("other pools", lambda: {name.partition("@")[0] for name in service.workers()} == {"default", "more"})
    after = service.workers()
    assert {name: pid for name, pid in after.items() if name.startswith("default")}.items() <= before.items()


def tasks(service: Service) -> list[dict[str, Any]]:
    workers: list[dict[str, Any]] = json.loads(service.ctl("tasks", "--json").check())["workers"]
    return workers


def test_a_worker_of_a_removed_pool_finishes_its_task_under_its_own_settings(service: Service) -> None:
    """Without its template PID 1 goes on with settings of its own: KillMode=control-group kills running tasks."""
    (nap,) = service.nap(9, queue="extra")
    service.wait_for("start", [nap])
    service.configure(**{"pools.extra": None})
    service.reload()
    service.wait("a drain", lambda: "deactivating" in service.states().values(), every=0.1)
    (unit,) = (f"trapd-worker-{name}" for name, state in service.states().items() if state == "deactivating")
    shown = service.machine.show(unit, "KillMode", "LoadState", "PrivateUsers")
    assert shown == {"KillMode": "mixed", "LoadState": "loaded", "PrivateUsers": "yes"}
    # its socket takes trapd for "nobody", and answers all the same
    (told,) = (told for told in tasks(service) if told["pool"] == "extra")
    assert (told["phase"], told["unanswered"]) == ("draining", "")
    assert [run["id"] for run in told["running"]] == [nap]
    service.wait_for("end", [nap])
    service.wait("its end", lambda: not any(name.startswith("extra") for name in service.states()))


def test_a_reload_of_a_broken_file_changes_nothing_and_says_why(service: Service) -> None:
    machine, before = service.machine, service.workers()
    machine.put(TOML, "[pools.default]\nworkers = 'two'\n")
    assert service.reload() != 0
    status = service.wait_until("the complaint", lambda status: bool(status["problems"]))
    (problem,) = status["problems"]
    assert problem.startswith(f"{TOML}:2: pools.default.workers: cannot use")
    assert problem.endswith("the configuration read before stays in force")
    service.wait("the same from systemctl", lambda: problem in machine.show("trapd", "StatusText")["StatusText"])
    assert problem in [entry["MESSAGE"] for entry in machine.entries("-u", "trapd", "--priority=err")]
    assert service.ctl("status").code == 1
    assert service.workers() == before
    service.configure()
    service.reload()
    service.wait_until("no complaint", at_rest)
    assert service.workers() == before


# --- what needs a daemon-reload -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["/var/lib/trapd/elsewhere", "/srv/elsewhere"])
def test_a_new_state_directory_says_what_is_to_be_done_until_it_is(service: Service, state: str) -> None:
    """Its workers look for their generation in the old place; where trapd may not write, it cannot even start."""
    machine, remedy = service.machine, "run `systemctl daemon-reload`"
    began = machine.sh("systemctl stop trapd; rm -r /var/lib/trapd/generations/*; date +%s").check().strip()
    service.configure(trapd={"backend": "systemd", "state_directory": state})
    folders = f"install -d -m 0711 -o trapd -g trapd {state}"
    folders += f" && install -d -m 2750 -o trapd -g trapd-worker {state}/generations"
    if state.startswith("/var"):
        machine.sh(folders).check()
    machine.systemctl("start", "--no-block", "trapd")
    service.wait("trapd's word", lambda: remedy in machine.journal("-u", "trapd", f"--since=@{began}"))
    checked = service.ctl("check")
    assert checked.code == 1
    assert f"systemd has not read {TOML} as it is now" in " ".join(checked.out.split())
    if state.startswith("/var"):
        told = service.wait_until("a worker's word", lambda status: remedy in json.dumps(status["pools"]))
        assert "there is no generation 1 in /var/lib/trapd/generations" in json.dumps(told["pools"])
    machine.sh(f"{folders} && systemctl daemon-reload && systemctl restart trapd").check()
    service.wait_until("workers that are current", at_rest)
    assert service.ctl("check").code == 0
    service.configure()
    machine.sh("systemctl daemon-reload && systemctl restart trapd").check()
    service.wait_until("workers that are current", at_rest)


# --- what becomes of tasks ------------------------------------------------------------------------------------------

SURVEYED, RELEASED, KILLED = (f"/var/lib/trapd-worker/{name}" for name in ("surveyed", "released", "killed"))
DROPPED = f"""

@app.task(name="shipyard.survey")
def survey():
    open("{SURVEYED}", "w").close()


@app.task(name="shipyard.moor")
def moor():
    while not os.path.exists("{RELEASED}"):
        time.sleep(0.1)
"""
KEPT = f"""

from trapd.worker import unknown

unknown.PATIENCE = unknown.LOOK_RARELY = 1.0


@app.task(name="shipyard.kill", acks_late=True, reject_on_worker_lost=True)
def kill():
    with open("{KILLED}", "a") as file:
        file.write("killed ")
    time.sleep(0.5)  # until the main process has noted the start
    os.kill(os.getpid(), 9)
    time.sleep(60)
"""


def test_a_rollout_waits_for_a_dropped_task_a_drain_leaves_its_receipt_and_what_cannot_run_is_set_aside(
    service: Service,
) -> None:
    extra = {**POOLS["pools.extra"], "concurrency": 1, "poison_after": 2}
    service.configure(rollout={"min_ready": "1s", "on_missing_tasks": "hold"}, **{"pools.extra": extra})
    service.reload()
    jobs = good(old := service.next_version())["shipyard/jobs.py"]
    service.install(old, {**good(old), "shipyard/jobs.py": jobs + DROPPED + KEPT})
    service.wait_until("the old code", lambda status: at_rest(status) and versions(status) == {old})
    # of the extra pool's tasks one runs, one is reserved, and one stays in the queue
    moor, survey = ("shipyard.moor", (), "extra"), ("shipyard.survey", (), "extra")
    moored = service.send(("shipyard.moor", (), ""), moor, moor, survey)[0]
    service.wait("two that run", lambda: sum(len(told["running"]) for told in tasks(service)) == 2)
    (drained,) = (told["worker"] for told in tasks(service) for run in told["running"] if run["id"] == moored)

    new = service.next_version()
    service.install(new, {**good(new), "shipyard/jobs.py": jobs + KEPT})
    status = service.wait_until("a held pool", lambda status: "on_missing_tasks" in status["pools"][1]["waiting"])
    assert "does not have tasks shipyard.moor, shipyard.survey" in status["pools"][1]["waiting"]
    service.wait("a drain", lambda: service.states()[drained] == "deactivating")
    assert not service.machine.exists(SURVEYED)
    service.machine.put(RELEASED, "")
    service.wait_until("the new code", lambda status: at_rest(status) and versions(status) == {new})
    assert service.machine.exists(SURVEYED)
    (end,) = (event for event in service.events(drained) if event["kind"] == "gone")
    assert [(task["id"], task["became"]) for task in end["tasks"]] == [(moored, "finished")]

    # nobody knows the one any more, and the other one kills its process
    _, kill = service.send(survey, ("shipyard.kill", (), "extra"))
    lines = [
        "set aside: 1 message of task shipyard.survey, in extra.trapd-parked: no worker knows the task",
        f"set aside: task shipyard.kill[{kill}], in extra.trapd-parked: it has killed its process 2 times",
    ]
    service.wait("both aside", lambda: all(line in service.ctl("tasks").out for line in lines), every=1)
    assert service.machine.read(KILLED).split() == ["killed"] * 2
    status = service.status()
    assert "1 message of task shipyard.survey in extra.trapd-parked" in " ".join(status["pools"][1]["problems"])
    assert kill in service.ctl("tasks", "poisoned").check()
    service.ctl("tasks", "drop", kill).check()
    service.wait("its end", lambda: kill not in service.ctl("tasks", "poisoned").out, every=1)
    service.ctl("celery", "purge", "-f", "-Q", "extra.trapd-parked").check()
    service.wait_until("no problem", at_rest)


TOLD = "/var/lib/trapd-worker/told"
HANGS = f"""

from celery.exceptions import SoftTimeLimitExceeded


@app.task(name="shipyard.hang")
def hang(heeds):
    try:
        time.sleep(3600)
    except SoftTimeLimitExceeded:
        with open("{TOLD}", "a") as file:
            file.write(f"{{hang.request.id}} {{os.getpid()}}\\n")
    while not heeds:
        time.sleep(1)
"""


def test_a_drain_past_its_timeout_raises_the_soft_time_limit_and_then_kills_and_the_receipt_tells_both(
    service: Service,
) -> None:
    service.configure(rollout={"min_ready": "1s", "drain_timeout": "2s"})
    service.reload()
    files = good(hangs := service.next_version())
    service.install(hangs, {**files, "shipyard/jobs.py": files["shipyard/jobs.py"] + HANGS})
    service.wait_until("the version", lambda status: at_rest(status) and versions(status) == {hangs})
    heeds, deaf = service.send(("shipyard.hang", (True,), "extra"), ("shipyard.hang", (False,), ""))
    service.wait("two that run", lambda: sum(len(told["running"]) for told in tasks(service)) == 2)
    hung = {run["id"]: told["worker"] for told in tasks(service) for run in told["running"]}
    service.install(new := service.next_version())
    service.wait_until("the new code", lambda status: at_rest(status) and versions(status) == {new}, timeout=90)

    told = [line.split() for line in service.machine.read(TOLD).splitlines()]
    assert sorted(id for id, _ in told) == sorted([heeds, deaf]), "each of them once"
    assert not [child for _, child in told if service.machine.exists(f"/proc/{child}")]
    for id, end, became in ((heeds, [], "finished"), (deaf, ["killed"], "unknown")):
        events = service.events(hung[id])
        steps = [event["kind"] for event in events]
        assert steps[steps.index("draining") :] == ["draining", "interrupted", *end, "gone"]
        reasons = {event["reason"] for event in events if event["kind"] in ("interrupted", "killed")}
        assert reasons == {"still busy after drain_timeout = 2 s"}
        assert [(task["id"], task["became"]) for task in events[-1]["tasks"]] == [(id, became)]
