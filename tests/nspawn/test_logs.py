"""The journal on a real systemd: what trapd and its workers say is found by pool, instance, generation and rollout."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nspawn.conftest import Boot
from tests.support.daemon import pool, settled_on
from tests.support.installation import Installation
from tests.support.sample import raising
from tests.support.service import Service, at_rest, redis

INFO, ERROR = "6", "3"  # syslog(3)


@pytest.fixture(scope="module")
def service(
    boot_for_module: Boot, installation: Installation, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """Version 1.0 runs, has done a task, and version 2.0, which cannot be imported, was rejected."""
    service = Service(
        boot_for_module,
        installation=installation,
        environment=environment,
        broker=redis(),
        tables={"pools.extra": {"queues": ["extra"]}},
        seed=tmp_path_factory.mktemp("seed"),
    )
    service.machine.systemctl("start", "trapd")
    service.wait_until("workers", lambda status: at_rest(status) and settled_on("1.0", 2)(status))
    service.wait_for("end", service.nap(0.1))
    service.install("2.0", raising("2.0"))
    service.wait_until("no", lambda status: rollout(status, "default") == rollout(status, "extra") == "rejected")
    service.machine.run("journalctl", "--sync").check()
    return service


def rollout(status: dict[str, Any], name: str) -> str:
    return str(pool(status, name)["rollout"]["state"])


def who(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["SYSLOG_IDENTIFIER"] for entry in entries if entry["SYSLOG_IDENTIFIER"] != "systemd"}


def test_a_pools_lines_are_trapds_and_its_workers(service: Service) -> None:
    found = service.machine.entries("POOL=default")
    assert who(found) == {"trapd", *(entry["INSTANCE"] for entry in found if "INSTANCE" in entry)}
    assert {"default@1-1", "default@1-2", "default@2-1"} <= who(found)
    assert not any("extra" in entry["MESSAGE"] for entry in found)
    assert who(service.machine.entries("POOL=extra")) >= {"trapd", "extra@1-1", "extra@2-1"}


def test_an_instances_lines_tell_why_it_was_started_and_what_it_said(service: Service) -> None:
    found = service.machine.entries("INSTANCE=default@2-1")
    assert who(found) == {"trapd", "default@2-1"}
    (start, *_) = [entry for entry in found if entry["SYSLOG_IDENTIFIER"] == "trapd"]
    assert start["MESSAGE"].startswith("default: start default@2-1: canary of generation 2")  # also "tentatively"
    assert (start["POOL"], start["GENERATION"], start["LOGGER"]) == ("default", "2", "trapd.controller")
    assert "RuntimeError: the hull leaks" in "\n".join(entry["MESSAGE"] for entry in found)


def test_a_rollouts_lines_are_its_story_from_the_trigger_to_the_verdict(service: Service) -> None:
    number = str(pool(service.status())["rollout"]["id"])
    found = service.machine.entries(f"ROLLOUT={number}")
    assert who(found) == {"trapd"}
    assert {(entry["POOL"], entry["GENERATION"]) for entry in found} >= {("default", "2")}
    assert found[0]["MESSAGE"] == "default: generation 2 is wanted: shipyard 1.0 -> 2.0"
    (verdict,) = [entry["MESSAGE"] for entry in found if entry["PRIORITY"] == ERROR]
    assert verdict.startswith("default: reject generation 2: default@2-1 failed to start")


def test_lines_have_their_priority_and_nothing_but_their_message(service: Service) -> None:
    entries = [entry for entry in service.machine.entries("-u", "trapd") if entry["SYSLOG_IDENTIFIER"] == "trapd"]
    priorities = {entry["PRIORITY"] for entry in entries if "LOGGER" in entry}
    assert priorities == {INFO, ERROR}, [entry["MESSAGE"] for entry in entries if entry["PRIORITY"] == "4"]
    errors = [entry["MESSAGE"] for entry in service.machine.entries("-u", "trapd", "--priority=err")]
    assert sorted(line.partition(": default@")[0].partition(": extra@")[0] for line in errors) == [
        "default: reject generation 2",
        "extra: reject generation 2",
    ]
    assert not [entry["MESSAGE"] for entry in entries if entry["MESSAGE"].startswith(("INFO", "ERROR", "20"))]


def test_the_errors_of_a_pool_are_the_whole_tracebacks_of_its_failed_tasks(service: Service) -> None:
    (failed,) = service.nap(-1)
    asked = ("POOL=default", "--priority=err")

    def of_task() -> list[str]:
        entries = [entry for entry in service.machine.entries(*asked) if entry["SYSLOG_IDENTIFIER"] == "default@1-1"]
        entries += [entry for entry in service.machine.entries(*asked) if entry["SYSLOG_IDENTIFIER"] == "default@1-2"]
        return [str(entry["MESSAGE"]) for entry in entries]

    service.wait("its end", lambda: any("must be non-negative" in line for line in of_task()))
    first, *trace = of_task()
    assert re.fullmatch(rf"\[ERROR/\S+\] Task shipyard.nap\[{failed}\] raised unexpected: ValueError\(.*\)", first)
    assert (trace[0], trace[-1][:11]) == ("Traceback (most recent call last):", "ValueError:")
    assert any(line.startswith('  File "') and "shipyard/jobs.py" in line for line in trace)
    shown = service.ctl("logs", "default", "-p", "err").check()
    assert sum(line in shown for line in trace) == len(trace)


def test_lines_of_workers_carry_no_time_of_their_own_and_their_own_priority(service: Service) -> None:
    found = [entry for entry in service.machine.entries("POOL=default") if "@" in entry["SYSLOG_IDENTIFIER"]]
    assert not [entry["MESSAGE"] for entry in found if re.search(r"\b20\d\d-\d\d-\d\d|^<\d>", str(entry["MESSAGE"]))]
    priorities = {
        (re.search(r"\[([A-Z]+)/", str(entry["MESSAGE"])) or ["", ""])[1]: entry["PRIORITY"] for entry in found
    }
    assert priorities.pop("INFO") == INFO
    assert {entry["PRIORITY"] for entry in found if "RuntimeError: the hull leaks" in entry["MESSAGE"]} == {ERROR}
    assert service.machine.show("trapd-worker-default@1-1", "LogRateLimitBurst") == {"LogRateLimitBurst": "20000"}


# --- trapctl logs ---------------------------------------------------------------------------------------------------


LOGS: dict[str, tuple[list[str], Callable[[str], bool]]] = {
    "all": ([], lambda said: "default@2-1[" in said and "extra@2-1[" in said and "trapd[" in said),
    "a pool": (["default"], lambda said: "default@2-1[" in said and "trapd[" in said and "extra@" not in said),
    "an instance": (["default@1-1"], lambda said: "default@1-1[" in said and "default@1-2[" not in said),
    "since": (["default", "--since", "1 hour ago"], lambda said: "first start: shipyard 1.0" in said),
    "nothing so late": (["default", "--since", "tomorrow"], lambda said: "default@" not in said),
}


@pytest.mark.parametrize(("arguments", "right"), LOGS.values(), ids=LOGS)
def test_trapctl_logs_shows(service: Service, arguments: list[str], right: Callable[[str], bool]) -> None:
    said = service.ctl("logs", *arguments).check()
    assert right(said), said


def test_trapctl_logs_as_json_is_the_journals(service: Service) -> None:
    lines = [json.loads(line) for line in service.ctl("logs", "extra", "--json").check().splitlines()]
    assert {line["POOL"] for line in lines} == {"extra"}


def test_trapctl_logs_follows(service: Service) -> None:
    command = service.machine.command("timeout", "60", "/opt/trapd/bin/trapctl", "logs", "-f", "default")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline()  # of before
        (nap,) = service.nap(0.1)
        assert any(f"Task shipyard.nap[{nap}] succeeded" in line for line in follower.stdout)
        service.machine.run("sh", "-c", "kill $(pidof -x journalctl)").check()
