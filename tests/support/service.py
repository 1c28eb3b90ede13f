"""trapd as the service of a machine: users, units and configuration as a package lays them out, a broker as a unit, and
the sample application in a virtual environment of its own that has never heard of trapd.

What runs is asked of systemd, and what became of tasks is read in the ledger that they write; trapd's own account is
only compared with these.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from tests.support import unit_files
from tests.support.brokers import Broker, on_rabbitmq, on_redis
from tests.support.daemon import News, Status, Table, ask_status, toml
from tests.support.installation import Installation, make_environment
from tests.support.load import Sent
from tests.support.machine import Done, Machine, MachineError
from tests.support.sample import APP, NAME, NAP, Entry, good, parse_ledger
from tests.support.wheels import write_wheel

TESTS = Path(__file__).parents[1]
PLACE = "/opt/trap"  # of the application's virtual environment
KEPT, LOAD = "/srv/trap", "/srv/load"  # shown read-only: that environment as it was made, and the submitter's code
LEDGER = "/var/lib/trapd-worker/ledger.jsonl"
TOML, CELERYCONFIG = "/etc/trapd/trapd.toml", "/etc/trapd/celeryconfig.py"
NEEDS = "celery[redis]>=5.5"
UNITS = "trapd-worker-*@*.service"
PATIENCE = 180.0  # s

_SUBMIT = """
import json, sys
from celery import Celery
app = Celery("submitter")
app.config_from_object("celeryconfig")
for name, arguments, queue in json.loads(sys.argv[1]):
    print(app.send_task(name, arguments, queue=queue or None).id)
"""


def make_application(kept: Path, *more: str) -> Path:
    """The application's virtual environment, without the application. Takes 20 s the first time.

    ``more``: what else pip installs in it.
    """
    needs = [NEEDS, *more]
    return make_environment(kept, PLACE, needs, " ".join([PLACE, *needs]).encode())


def redis() -> Broker:
    """Debian's redis-server as a unit: there in a moment."""
    return on_redis("redis://127.0.0.1:6379", 0)


def rabbitmq() -> Broker:
    """Debian's rabbitmq-server as a unit: there in 10 s."""
    return on_rabbitmq("amqp://guest:guest@localhost:5672//")


_TABLES: Mapping[str, Table] = {
    "trapd": {"backend": "systemd"},
    "app": {"app": APP, "python": f"{PLACE}/bin/python"},
    "watch": {"distributions": [NAME]},
    "rollout": {"min_ready": "1s"},
    "pools.default": {"workers": 2, "concurrency": 2},
}
CONTROL, STATE = "/run/trapd/control.sock", "/var/lib/trapd"
_PIP = f"{PLACE}/bin/python -m pip --quiet --disable-pip-version-check"
_RABBITMQ = "echo NODENAME=rabbit@localhost >/etc/rabbitmq/rabbitmq-env.conf"


class Service:
    """trapd on a machine that it does not own. ``boot`` gets Machine's arguments and returns it booted.

    ``tables``: of trapd.toml; ``library``: a distribution that the application requires, and imports at its start;
    ``celery``: more settings of Celery.
    """

    def __init__(
        self,
        boot: Callable[..., Machine],
        *,
        installation: Installation,
        environment: Path,
        broker: Broker,
        tables: Mapping[str, Table] | None = None,
        library: str | None = None,
        seed: Path,
        **celery: object,
    ) -> None:
        self._library = library
        self.broker, self.tables = broker, {**_TABLES, **(tables or {})}
        celeryconfig = broker.celeryconfig(worker_prefetch_multiplier=1, **celery)
        unit_files.lay_out(seed, toml(self.tables), celeryconfig=celeryconfig)
        unit = {"redis": "redis-server", "rabbitmq": "rabbitmq-server"}[broker.kind]
        self.machine = boot(
            binds={**installation.binds, KEPT: environment, f"{LOAD}/tests": TESTS},
            seed=seed,
            prepare=f"{unit_files.PREPARE}{_RABBITMQ}\nsystemctl --quiet enable {unit} polkit",
        )
        self.machine.sh(f"cp -a {KEPT} {PLACE}; cp -a {LOAD} /srv/submitter").check()
        self._number = 1
        self.install_library()
        self.install(self.version)

    # -- the application -------------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The latest of the good ones that were asked for."""
        return f"{self._number}.0"

    def next_version(self) -> str:
        self._number += 1
        return self.version

    def install(self, version: str, files: Mapping[str, str] | None = None) -> tuple[float, float]:
        """``pip install`` in place; returns the monotonic times, which are the machine's too, at which it ran."""
        wheel = self.put_wheel(version, files)
        began = time.monotonic()
        self.machine.sh(pip(wheel)).check()
        return began, time.monotonic()

    def install_library(self) -> None:
        if self._library:
            self.machine.sh(pip(self.put(self._library, "1.0", {f"{self._library}/__init__.py": ""}))).check()

    def put_wheel(self, version: str, files: Mapping[str, str] | None = None) -> str:
        """A wheel of shipyard, a good one unless ``files`` says otherwise; its path in the machine."""
        files = dict(files or good(version))
        if self._library:
            files[f"{NAME}/__init__.py"] += f"import {self._library}\n"
        return self.put(NAME, version, files, requires=[self._library] if self._library else [])

    def put(self, name: str, version: str, files: Mapping[str, str], *, requires: Sequence[str] = ()) -> str:
        """A wheel of any distribution; its path in the machine."""
        with tempfile.TemporaryDirectory() as folder:
            wheel = write_wheel(Path(folder), name, version, files, requires=requires)
            self.machine.copy_in(wheel, "/srv/wheels")
        return f"/srv/wheels/{wheel.name}"

    def site_packages(self) -> str:
        return self.machine.sh(f"echo {PLACE}/lib/python3*/site-packages").check().strip()

    # -- the configuration -----------------------------------------------------------------------------------------

    def configure(self, **tables: Table | None) -> None:
        """Write trapd.toml anew, these tables instead of those the machine was made with; None: not that one."""
        chosen = {**self.tables, **tables}
        self.machine.put(TOML, toml({name: table for name, table in chosen.items() if table is not None}))

    def reload(self) -> int:
        """``systemctl reload``, its exit status, which only tells trapd, and until it has done with that: from then on
        its status is of the new configuration."""
        before = self._reloads()
        status = self.machine.run("systemctl", "reload", "trapd").code
        self.wait("word of the reload", lambda: self._reloads() > before)
        self.wait("its end", lambda: self.machine.show("trapd", "SubState") == {"SubState": "running"})
        return status

    def _reloads(self) -> int:
        said = self.machine.journal("-u", "trapd")
        return said.count(f"read {TOML} again") + said.count("the configuration read before stays in force")

    def drop_in(self, unit: str, settings: str | None) -> None:
        """Settings of [Service] on top of a unit's own, or none any more. Needs a daemon-reload."""
        path = f"/etc/systemd/system/{unit}.d/test.conf"
        if settings is None:
            self.machine.run("rm", "-f", path).check()
        else:
            self.machine.put(path, f"[Service]\n{settings}\n")

    def restore(self) -> None:
        """Take back what ``configure`` and ``drop_in`` did, and start trapd if it was stopped: for tests that share the
        machine. A daemon-reload and a reload that nothing is behind would cost a second of work together."""
        if self.machine.sh("find /etc/systemd/system -name test.conf -print -delete").check():
            self.machine.systemctl("daemon-reload")
        if changed := self.machine.read(TOML) != toml(self.tables):
            self.configure()
        self.machine.sh("systemctl reset-failed; systemctl start trapd").check()
        if changed:
            self.reload()

    # -- tasks -----------------------------------------------------------------------------------------------------

    def nap(self, *seconds: float, queue: str = "") -> list[str]:
        """Submit tasks that take so long, to the default queue or another; their ids."""
        return self.send(*((NAP, (each, LEDGER), queue) for each in seconds))

    def send(self, *tasks: tuple[str, tuple[object, ...], str]) -> list[str]:
        """Submit tasks: name, arguments, queue ("": the default one); their ids."""
        submit = [f"{PLACE}/bin/python", "-B", "-c", _SUBMIT, json.dumps(tasks)]
        return self.machine.run("env", "--chdir=/etc/trapd", *submit).check().split()

    def ledger(self) -> list[Entry]:
        return parse_ledger(self.machine.run("cat", LEDGER).out)

    def wait_for(self, event: str, ids: Sequence[str], timeout: float = PATIENCE) -> list[Entry]:
        """The entries of this event for these tasks, in the order of ``ids``."""

        def entries() -> dict[str, Entry]:
            return {one.id: one for one in self.ledger() if one.event == event}

        self.wait(f"{event} of {ids}", lambda: set(ids) <= set(entries()), timeout)
        return [entries()[id] for id in ids]

    # -- what runs -------------------------------------------------------------------------------------------------

    def workers(self) -> dict[str, int]:
        """The main processes of all worker units that run, as systemd says: instance -> process id."""
        return {
            name: int(shown["MainPID"]) for name, shown in self._shown("MainPID").items() if shown["MainPID"] != "0"
        }

    def states(self) -> dict[str, str]:
        """All worker units that run or failed: instance -> ActiveState. Others systemd unloads in a moment."""
        states = {name: shown["ActiveState"] for name, shown in self._shown("ActiveState").items()}
        return {name: state for name, state in states.items() if state != "inactive"}

    def _shown(self, *properties: str) -> dict[str, dict[str, str]]:
        words = self.machine.run("systemctl", "show", UNITS, f"--property=Id,{','.join(properties)}").out
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in words.split("\n\n") if block]
        return {block["Id"].removeprefix("trapd-worker-").removesuffix(".service"): block for block in blocks}

    def pid(self) -> int:
        return int(self.machine.show("trapd", "MainPID")["MainPID"])

    def ctl(self, *arguments: str, user: str | None = None) -> Done:
        return self.machine.run("/opt/trapd/bin/trapctl", *arguments, user=user)

    def status(self) -> Status:
        """An empty dict while trapd does not answer."""
        return ask_status(self.machine.socket(CONTROL))

    def news(self) -> News:
        """For somebody who waits for something that the status shows."""
        return News(self.machine.socket(STATE))

    def wait(self, what: str, true: Callable[[], object], timeout: float = PATIENCE, every: float = 0.2) -> None:
        """Raises AssertionError with the end of the journal if it does not come true."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, f"no {what} within {timeout:g} s\n{self.words()}"
            time.sleep(every)

    def wait_until(self, what: str, true: Callable[[Status], bool], timeout: float = PATIENCE) -> Status:
        """Ask trapd for its status until it is as wanted."""
        status: Status = {}
        news = self.news()

        def looks() -> bool:
            nonlocal status
            if not news():
                return False
            status = self.status()
            return bool(status) and true(status)

        try:
            self.wait(what, looks, timeout)
        except AssertionError as error:
            error.add_note(json.dumps(status, indent=1))
            raise
        return status

    def events(self, instance: str | None = None) -> list[dict[str, Any]]:
        """What trapd's history has of one worker, or all of it, oldest first."""
        told: list[dict[str, Any]] = json.loads(self.ctl("events", "--json", "--limit", "500").out)["events"]
        return [event for event in told if instance in (None, event["instance"])]

    def words(self) -> str:
        return self.machine.journal("--lines=120", "--priority=debug")


class Sender(Protocol):
    """A machine, and the broker that can be reached from it."""

    @property
    def machine(self) -> Machine: ...

    @property
    def broker(self) -> Broker: ...


class ServiceLoad:
    """The steady load of tests/support/load.py, sent from within the machine, from ``start`` to ``stop``."""

    def __init__(self, service: Sender, *, slots: int, share: float = 0.75) -> None:
        self._machine = service.machine
        self._order = {"broker": asdict(service.broker), "ledger": LEDGER, "slots": slots, "share": share}

    def start(self) -> None:
        self._machine.run(
            *("systemd-run", "--quiet", "--unit=load", "--working-directory=/srv/submitter"),
            *("-p", "StandardOutput=file:/srv/load.out", "-p", "TimeoutStopSec=120"),
            *(f"{PLACE}/bin/python", "-m", "tests.support.load", json.dumps(self._order).replace("%", "%%")),
        ).check()

    def stop(self) -> list[Sent]:
        """Stop sending, wait for the answers, return all that was sent."""
        self._machine.systemctl("stop", "load", timeout=120)
        words = self._machine.read("/srv/load.out")
        if not words:
            raise MachineError(f"the submitter failed:\n{self._machine.journal('-u', 'load')}")
        return [Sent(**one) for one in json.loads(words.splitlines()[-1])]


def at_rest(status: Status) -> bool:
    """Nothing is wrong, and nothing goes on."""
    return not status.get("problems", ["no answer"]) and all(
        not one["problems"] and not one["waiting"] and one["rollout"] and one["rollout"]["state"] == "complete"
        for one in status["pools"]
    )


def pip(wheel: str) -> str:
    """The command that installs a wheel in place, for a shell in the machine."""
    return f"{_PIP} install --no-index --no-deps --force-reinstall {wheel}"


def pip_uninstall(distribution: str) -> str:
    """The command that removes a distribution, for a shell in the machine."""
    return f"{_PIP} uninstall --yes {distribution}"
