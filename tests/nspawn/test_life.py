"""From the first start to the reboot, on a real systemd with real Celery workers: nothing is lost, nothing runs twice,
and every boot comes up on code that is known to be good.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.nspawn.conftest import Boot
from tests.support.brokers import on_redis
from tests.support.daemon import Status, pool, settled_on
from tests.support.installation import Installation
from tests.support.load import Sent, outcome
from tests.support.machine import Hub
from tests.support.repetitions import times
from tests.support.sample import NAME, Entry, good
from tests.support.service import (
    CELERYCONFIG,
    PLACE,
    TOML,
    Service,
    ServiceLoad,
    at_rest,
    pip,
    pip_uninstall,
    rabbitmq,
    redis,
)

LIBRARY = "keel"
WORKERS, SLOTS = 2, 4
SEED, KILLS = 3, times(10, 60)


@pytest.fixture
def with_rabbitmq(boot: Boot, installation: Installation, environment: Path, tmp_path: Path) -> Service:
    """Acknowledged late: a task whose worker loses its broker runs twice."""
    return Service(
        boot,
        broker=rabbitmq(),
        task_acks_late=True,
        installation=installation,
        environment=environment,
        seed=tmp_path / "seed",
    )


@pytest.fixture(scope="module")
def with_redis(
    boot_for_module: Boot, installation: Installation, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Service:
    seed = tmp_path_factory.mktemp("seed")
    watch = {"distributions": ["shipyard"], "quiet_period": "500ms", "ceiling": "5s"}
    return Service(
        boot_for_module,
        installation=installation,
        environment=environment,
        broker=redis(),
        tables={"watch": watch, "rollout": {"min_ready": "500ms"}},
        library=LIBRARY,
        seed=seed,
    )


def wrong(sent: Sequence[Sent], ledger: Sequence[Entry]) -> dict[str, Sequence[str]]:
    """What must be empty: tasks that were lost, run twice, or ran on two versions of the code."""
    now = time.monotonic()
    came = outcome(sent, ledger, new="", steady_at=now, pip=(now + 1, now + 2))
    print(f"{len(sent)} tasks; {came.versions}")
    return {"lost": came.lost, "twice": came.twice, "mixed": came.mixed}


NOTHING = {"lost": (), "twice": (), "mixed": ()}
NO_STATUS: Status = {"pools": [{"name": "default", "instances": [], "rollout": None}]}


# --- the main story -------------------------------------------------------------------------------------------------


def test_start_upgrade_under_load_and_reboot(with_rabbitmq: Service) -> None:
    service, machine = with_rabbitmq, with_rabbitmq.machine
    machine.sh("useradd ann").check()
    machine.systemctl("enable", "--now", "trapd")
    service.wait_until("workers on 1.0", lambda status: at_rest(status) and settled_on("1.0", WORKERS)(status))
    assert {user: service.ctl("status", user=user).code for user in ("root", "ann")} == {"root": 0, "ann": 0}
    assert service.ctl("recycle", user="ann").code == 4
    text = {"StatusText": "2 of 2 workers ready"}
    service.wait("the same from systemctl", lambda: machine.show("trapd", "StatusText") == text)

    load = ServiceLoad(service, slots=SLOTS)
    load.start()
    service.wait("tasks at work", lambda: len(service.ledger()) > 20)
    service.install(service.next_version())
    after = service.wait_until("workers on 2.0", lambda s: at_rest(s) and settled_on("2.0", WORKERS)(s), 120)
    service.wait("tasks on all of them", lambda: len(at_work(service)) == 2 * WORKERS)
    sent, ledger = load.stop(), service.ledger()
    assert wrong(sent, ledger) == NOTHING
    assert all(one.answered for one in sent)
    assert {entry.version for entry in ledger} == {"1.0", "2.0"}
    assert len(at_work(service)) == 2 * WORKERS
    assert pool(after)["generation"] == 2

    naps = service.nap(*[3.0] * (2 * SLOTS))  # half of them wait in the broker
    service.wait_for("start", naps[:SLOTS])
    before = service.workers()
    began = time.monotonic()
    machine.reboot()
    print(f"reboot, with tasks of 3 s to wait for: {time.monotonic() - began:.1f} s")
    ends = service.wait_for("end", naps)
    assert wrong([Sent(nap, began, 3.0) for nap in naps], service.ledger()) == NOTHING
    assert {one.version for one in ends} == {"2.0"}
    status = service.wait_until("workers on 2.0", lambda s: at_rest(s) and settled_on("2.0", WORKERS)(s))
    assert pool(status)["generation"] == 2
    assert set(service.workers()) == set(before)
    [told] = [event for event in service.events() if event["kind"] == "rebooted"]
    assert f"{WORKERS} workers ran then" in told["reason"] or "no worker ran then" in told["reason"]

    running = service.nap(*[60.0] * SLOTS)
    service.wait_for("start", running)
    waiting = service.nap(*[0.1] * 20)
    revoke = "import sys; from celery import Celery; app = Celery(); app.config_from_object('celeryconfig')"
    revoke += f"; print(len(app.control.revoke(sys.argv[1:], reply=True, timeout=20, limit={WORKERS})))"
    asked = ["env", "--chdir=/etc/trapd", f"{PLACE}/bin/python", "-B", "-c", revoke, *waiting]
    assert machine.run(*asked).check().strip() == str(WORKERS)
    machine.sh("systemctl kill --signal=KILL trapd trapd-workers.slice").check()
    machine.reboot()
    service.wait_until("workers after the crash", lambda s: at_rest(s) and settled_on("2.0", WORKERS)(s))
    told = [event for event in service.events() if event["kind"] == "rebooted"][-1]
    assert f"{WORKERS} workers ran then" in told["reason"], "they were killed, with their tasks"
    service.wait_for("end", service.nap(*[0.1] * SLOTS), 120)  # behind all others; those that were killed run again
    assert not {one.id for one in service.ledger()} & set(waiting)


def at_work(service: Service) -> set[tuple[str, int]]:
    """The workers that have had a task: version and main process."""
    return {(one.version, one.main) for one in service.ledger()}


# --- a broker elsewhere ---------------------------------------------------------------------------------------------


def test_the_broker_may_be_on_another_machine(
    boot: Boot, hub: Hub, installation: Installation, environment: Path, tmp_path: Path
) -> None:
    there = boot("broker", hub=hub)
    there.sh("sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode .*/protected-mode no/' /etc/redis/redis.conf").check()
    there.systemctl("start", "redis-server")
    service = Service(
        partial(boot, "workers", hub=hub, peers=["broker"]),
        installation=installation,
        environment=environment,
        broker=on_redis("redis://broker:6379", 0),
        seed=tmp_path / "seed",
    )
    service.machine.sh("systemctl disable --now redis-server; systemctl start trapd").check()
    service.wait_until("workers", lambda status: at_rest(status) and settled_on("1.0", WORKERS)(status))
    service.wait_for("end", service.nap(0.1, 0.1))
    assert service.ctl("check").code == 0
    assert service.ctl("celery", "inspect", "ping").check().count("pong") == WORKERS


# --- trapd is killed anywhere ---------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(times(300, 1800))
def test_trapd_killed_at_any_moment_of_rollouts_under_load_loses_nothing_and_forgets_no_unit(
    with_redis: Service, record_property: Callable[[str, object], None]
) -> None:
    service, machine, chance = with_redis, with_redis.machine, random.Random(SEED)
    service.drop_in("trapd.service", "RestartSec=50ms")
    machine.sh("systemctl daemon-reload; systemctl enable --now trapd").check()
    service.wait_until("workers", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))
    load = ServiceLoad(service, slots=SLOTS, share=0.5)
    load.start()
    rollouts, killed = 0, 0
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.0, 2.0))
        if settled_on(service.version, WORKERS)(service.status() or NO_STATUS):
            wheel, rollouts = service.put_wheel(service.next_version()), rollouts + 1
            machine.run("systemd-run", "--quiet", "--collect", "sh", "-c", pip(wheel)).check()
            time.sleep(chance.uniform(0.0, 2.0))
        killed = kill(service, killed)
    status = service.wait_until(
        "all on the latest", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status), 120
    )
    sent, ledger = load.stop(), service.ledger()
    record_property("times", KILLS)
    print(f"{KILLS} kills in {rollouts} rollouts")
    assert wrong(sent, ledger) == NOTHING
    assert all(one.answered for one in sent)
    newest = pool(status)["generation"]
    assert service.states() == {f"default@{newest}-{slot}": "active" for slot in slots(service)}
    assert len(service.workers()) == WORKERS
    assert {one["state"] for one in history(service)} <= {"complete", "superseded"}
    assert int(machine.show("trapd", "NRestarts")["NRestarts"]) >= KILLS


KILL = "pid=$(systemctl show --property=MainPID --value trapd); [ $pid -ne 0 -a $pid -ne {} ]; kill -9 $pid; echo $pid"


def kill(service: Service, before: int) -> int:
    """Another trapd than the one killed before, as soon as there is one; its process id."""
    pids: list[str] = []

    def another() -> bool:
        pids.append(service.machine.sh(KILL.format(before)).out)
        return bool(pids[-1])

    service.wait("a trapd to kill", another)
    return int(pids[-1])


def slots(service: Service) -> list[int]:
    return [int(name.rpartition("-")[2]) for name in service.workers()]


def history(service: Service) -> list[dict[str, Any]]:
    rollouts: list[dict[str, Any]] = json.loads(service.ctl("rollout", "history", "--json").out)["rollouts"]
    return rollouts


# --- boots ----------------------------------------------------------------------------------------------------------


def test_a_boot_comes_up_on_the_last_good_environment_though_a_library_is_gone_and_even_if_trapd_cannot_start(
    with_redis: Service,
) -> None:
    service, machine = with_redis, with_redis.machine
    machine.systemctl("enable", "--now", "trapd")
    service.wait_until("workers", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))
    machine.sh(pip_uninstall(LIBRARY)).check()
    lacks_library(service)
    killed = crashes(service)
    (nap,) = service.nap(3)
    service.wait_for("start", [nap])
    begun = starts(machine.journal("--boot", "--unit=trapd"))
    machine.reboot()
    service.wait_for("end", [nap], timeout=0)
    words = machine.journal("--boot=-1", "--unit=trapd")
    assert starts(words) == begun, "one worker left long before the other, and none came in its place"
    end = ["draining", "lost", "started", "ready"]
    service.wait("the end of its run", lambda: [event["kind"] for event in service.events(killed)][-4:] == end)
    draining, lost, *_ = service.events(killed)[-4:]
    assert (draining["actor"], draining["reason"]) == ("outside", "was asked to leave by systemd or a person")
    assert lost["reason"] == "the machine went down before it was known to have finished its tasks"
    assert words.count("the machine goes down: no worker is started any more; each drains by itself") == 1
    assert "workers stay" not in words
    tried(service)
    lacks_library(service)
    service.wait_until("current workers all the same", settled_on(service.version, WORKERS))

    machine.put(TOML, "[pools\n")
    machine.reboot()
    tried(service)
    assert machine.show("trapd", "ActiveState", "ExecMainStatus") == {"ActiveState": "failed", "ExecMainStatus": "78"}
    before = service.workers()
    assert len(before) == WORKERS

    service.configure()
    service.install_library()
    machine.systemctl("start", "trapd")
    service.wait_until("workers", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))
    assert service.workers() == before


def lacks_library(service: Service) -> None:
    """Wait until trapd says so."""
    status = service.wait_until("a verdict on the disk", lambda status: status["disk"]["state"] == "broken")
    assert status["disk"]["reason"].startswith(f"shipyard requires {LIBRARY}, which is not installed")
    assert service.ctl("status").code == 1


def crashes(service: Service) -> str:
    """Kill the main process of a worker, and compare what is told of that; the worker's name."""
    name, pid = min(service.workers().items())
    instance = next(one for one in pool(service.status())["instances"] if one["name"] == name)
    assert (instance["slots"], instance["restarts"]["count"]) == (2, 0)
    service.machine.run("kill", "-9", str(pid)).check()
    service.wait("another run", lambda: [event["kind"] for event in service.events(name)][-2:] == ["started", "ready"])
    crashed, again, _ = service.events(name)[-3:]
    assert (crashed["kind"], crashed["actor"], again["actor"]) == ("crashed", "worker", "outside")
    assert crashed["reason"] == "was killed by SIGKILL, not by trapd: out of memory?"
    assert crashed["duration"] > 0.0
    instance = next(one for one in pool(service.status())["instances"] if one["name"] == name)
    assert (instance["restarts"]["count"], instance["restarts"]["cause"]) == (1, crashed["reason"])
    return name


def starts(journal: str) -> int:
    """What trapd has started, or tried to, by its own words."""
    return journal.count(": start default@")


def tried(service: Service) -> None:
    """Tasks run, on the version that was there before."""
    ends = service.wait_for("end", service.nap(0.2, 0.2))
    assert {(one.version, one.lazy) for one in ends} == {(service.version, service.version)}


# --- code is taken back, and settings are not -----------------------------------------------------------------------

GENERATIONS = "/var/lib/trapd/generations"


def test_undo_takes_back_the_code_and_uses_the_celeryconfig_in_force(with_redis: Service) -> None:
    """Over a start by systemd too: its unit runs the generation, and asks nobody."""
    service, machine = with_redis, with_redis.machine
    machine.systemctl("enable", "--now", "trapd")
    service.wait_until("workers", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))
    old, configured = service.version, machine.read(CELERYCONFIG)
    service.install(service.next_version())
    service.wait_until("the upgrade", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))
    try:
        machine.run("redis-cli", input="config set requirepass fresh\n").check()
        rotated = configured.replace("redis://127", "redis://:fresh@127")
        machine.put(CELERYCONFIG, rotated, mode=0o640, owner="root:trapd-worker")
        assert service.ctl("rollout", "status", "--timeout", "60s").code == 0
        latest = generation(service)
        assert service.ctl("status").code == 0

        undone = service.ctl("rollout", "undo", "default", "--timeout", "60s")
        assert undone.code == 0, undone
        assert f"undo of generation {latest}: shipyard {service.version} -> {old}" in undone.out
        service.wait_until("workers on the old code", settled_on(old, WORKERS))
        assert generation(service) == latest + 1
        assert "redis://:fresh@127" in machine.read(f"{GENERATIONS}/{latest + 1}/etc/celeryconfig.py")
        restart(service)
        ends = service.wait_for("end", service.nap(*[0.1] * 2 * SLOTS))
        assert {one.version for one in ends} == {old}
        for asked in (service.ctl("status"), service.ctl("rollout", "status", "--no-wait")):
            assert asked.code == 1
            assert f"shipyard {service.version} is installed and does not run: undone by root" in asked.out + asked.err
        undone_by_root = f"pool default: shipyard {service.version} is installed and does not run: undone by root, at "
        service.wait(
            "the same from systemctl", lambda: undone_by_root in machine.show("trapd", "StatusText")["StatusText"]
        )
    finally:
        machine.run("redis-cli", "-a", "fresh", input="config set requirepass ''\n").check()
        machine.put(CELERYCONFIG, configured, mode=0o640, owner="root:trapd-worker")
        service.install(service.next_version())
    service.wait_until("the next", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))


def generation(service: Service) -> int:
    number: int = pool(service.status())["generation"]
    return number


def restart(service: Service) -> None:
    """Kill all workers, and wait until systemd has started each anew."""
    before = service.workers()
    assert len(before) == WORKERS
    service.machine.run("kill", "-KILL", *map(str, before.values())).check()

    def again(status: Status) -> bool:
        found = {one["name"]: one["pid"] for one in pool(status)["instances"] if one["state"] == "ready"}
        return found.keys() == before.keys() and not set(found.values()) & set(before.values())

    service.wait_until("all workers again", again)


# --- a full disk ----------------------------------------------------------------------------------------------------

STATE, BESIDE = "/var/lib/trapd", "/var/lib/beside"
FILL = f"head -c 1G /dev/zero >{STATE}/ballast || :; while printf x >>{STATE}/ballast; do :; done"
ROOM = 1 << 20  # bytes, for the history


@pytest.fixture
def small(with_redis: Service) -> Iterator[Service]:
    """Its state directory is on a small file system of its own, while trapd and its workers run."""
    service, machine = with_redis, with_redis.machine
    move = "systemctl stop trapd; mv {0} {1}; mkdir {0}; {2}; cp -a {1}/. {0}; rm -r {1}; systemctl start trapd"
    machine.sh(move.format(STATE, BESIDE, f"mount -t tmpfs -o size=96m tmpfs {STATE}")).check()
    service.wait_until("workers", lambda status: at_rest(status) and settled_on(service.version, WORKERS)(status))
    yield service
    back = f"systemctl stop trapd; cp -a {STATE} {BESIDE}; umount {STATE}; rmdir {STATE}; mv {BESIDE} {STATE}"
    machine.sh(f"{back}; systemctl start trapd").check()


def test_with_a_full_disk_workers_start_again_and_an_upgrade_says_what_is_missing_until_there_is_room(
    small: Service,
) -> None:
    service, machine, old = small, small.machine, small.version
    machine.sh(FILL).check()
    assert machine.sh(f"df --output=avail -B1 {STATE} | tail -1").check().strip() == "0"
    restart(service)
    assert {one.version for one in service.wait_for("end", service.nap(*[0.1] * 2 * SLOTS))} == {old}
    # or, if an event had to be written down meanwhile
    full = rf"problem: cannot write (to {STATE}: \d+ KiB are free on its disk|the history .*: database or disk is full)"
    service.wait("word of the full disk", lambda: re.search(full, service.ctl("status").out))
    assert service.ctl("status").code == 1

    machine.sh(f"truncate --size=-{ROOM} {STATE}/ballast").check()
    version = service.next_version()
    large = {f"{NAME}/large.py": f"TEXT = '{'x' * 4 * ROOM}'\n"}
    service.install(version, {**good(version), **large})
    short = r"problem: cannot make generation \d+: .*; make room for [\d.]+[KM] more"
    service.wait("word of the shortage", lambda: re.search(short, service.ctl("status").out))
    assert service.ctl("status").code == 1
    restart(service)
    assert {one.version for one in service.wait_for("end", service.nap(*[0.1] * 2 * SLOTS))} == {old}

    machine.sh(f"rm {STATE}/ballast").check()
    service.wait_until("the upgrade", lambda status: at_rest(status) and settled_on(version, WORKERS)(status), 120)
    assert service.ctl("status").code == 0


def test_a_disk_that_gets_read_only_is_a_problem_and_an_event_until_it_can_be_written_again(small: Service) -> None:
    service, machine = small, small.machine
    assert service.ctl("status").code == 0
    # a bind mount, because the kernel refuses to remount what has a file open for writing: the history
    bind = "mkdir {1}; mount --bind {0} {1} && mount -o remount,bind,ro {1} && mount --bind {1} {0}"
    machine.sh(bind.format(STATE, BESIDE)).check()
    try:
        service.wait("the event, which waits to be written", lambda: any(_read_only(e) for e in service.events()))
        told = re.compile(rf"problem: .*{STATE}.*read-only", re.IGNORECASE)
        assert told.search(service.ctl("status").out)
        assert service.ctl("status").code == 1
        restart(service)
        assert len(service.wait_for("end", service.nap(*[0.1] * 2 * SLOTS))) == 2 * SLOTS
    finally:
        machine.sh(f"umount --lazy {STATE} {BESIDE}; rmdir {BESIDE}").check()
    service.wait("the end of it", lambda: service.ctl("status").code == 0)
    service.wait("the event of it", lambda: any(event["kind"] == "relief" for event in service.events()))
    [begun] = filter(_read_only, service.events())
    restart(service)
    assert [event["id"] for event in service.events() if _read_only(event)] == [begun["id"]], "it is written down"


def _read_only(event: dict[str, Any]) -> bool:
    return event["kind"] == "trouble" and f"cannot write to {STATE}: its file system is read-only" in event["reason"]
