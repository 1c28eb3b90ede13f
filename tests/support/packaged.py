"""A Debian machine on which trapd is to be installed, with the application beside it in a virtual environment that has
Celery and has never heard of trapd."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.daemon import ask_status
from tests.support.installation import make_environment
from tests.support.machine import Done, Machine
from tests.support.sample import APP, NAME, NAP, Entry, good, parse_ledger
from tests.support.service import CONTROL, at_rest
from tests.support.wheels import write_wheel

PLACE = "/opt/trap"
NEEDS = "celery[redis]>=5.5"
LEDGER = "/var/lib/trapd-worker/ledger.jsonl"
REDIS = "redis://127.0.0.1:6379/0"
UNITS = "trapd-worker-*@*.service"
PATIENCE = 180.0  # s

TOML = f"""
[app]
app = "{APP}"
python = "{PLACE}/bin/python"
[watch]
distributions = ["{NAME}"]
[rollout]
min_ready = "0s"
[pools.default]
workers = 2
"""
CELERYCONFIG = f'broker_url = result_backend = "{REDIS}"\nbroker_connection_retry_on_startup = True\n'

# Run in the machine's root before it boots: whatever tests of trapd may have left on this one.
PREPARE = "rm -rf /etc/trapd /var/lib/trapd /var/lib/trapd-worker /var/cache/trapd-worker"


def make_application(kept: Path) -> Path:
    """The application's virtual environment, for a machine that has it at ``PLACE``. Takes 20 s the first time."""
    return make_environment(kept, PLACE, [NEEDS], f"{PLACE} {NEEDS}".encode())


class Host:
    """Asks systemd what runs, the ledger what became of tasks, and trapd what it says."""

    def __init__(self, machine: Machine, wheels: Path) -> None:
        self.machine, self.wheels = machine, wheels

    # -- packages ------------------------------------------------------------------------------------------------

    def apt(self, verb: str, package: str | Path, *, timeout: float = 120.0) -> Done:
        """``apt-get`` without a question; a package that is a file is copied there first."""
        if isinstance(package, Path):
            self.machine.copy_in(package, "/srv")
            package = f"/srv/{package.name}"
        command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet=2", verb, package]
        return self.machine.run(*command, timeout=timeout)

    def dpkg(self, *arguments: str | Path, timeout: float = 120.0) -> str:
        """dpkg's output; packages that are files are copied there first."""
        words = []
        for one in arguments:
            if isinstance(one, Path):
                self.machine.copy_in(one, "/srv")
            words.append(f"/srv/{one.name}" if isinstance(one, Path) else one)
        return self.machine.run("dpkg", *words, timeout=timeout).check()

    # -- the application -----------------------------------------------------------------------------------------

    def bring_environment(self, environment: Path) -> None:
        """The virtual environment, without the application."""
        self.machine.copy_in(environment, "/srv")
        self.machine.sh(f"mv /srv/{environment.name} {PLACE}").check()

    def bring_application(self, environment: Path) -> None:
        """The virtual environment with the application, and the configuration that names it."""
        self.bring_environment(environment)
        self.pip_install(NAME, "1.0", good("1.0"))
        self.machine.put("/etc/trapd/trapd.toml", TOML)

    def bring_redis(self) -> None:
        """Redis as the broker: there in a moment."""
        self.machine.systemctl("--quiet", "enable", "--now", "redis-server")
        self.machine.sh(f"cat >/etc/trapd/celeryconfig.py <<'END'\n{CELERYCONFIG}END").check()

    def pip_install(self, name: str, version: str, files: dict[str, str]) -> None:
        wheel = write_wheel(self.wheels, name, version, files)
        self.machine.copy_in(wheel, "/srv")
        pip = f"{PLACE}/bin/python -m pip --quiet --disable-pip-version-check install --no-index --no-deps"
        self.machine.sh(f"{pip} --force-reinstall /srv/{wheel.name}").check()

    def nap(self, seconds: float) -> str:
        """Submit a task that takes so long; its id."""
        script = "import celery; app = celery.Celery(); app.config_from_object('celeryconfig'); "
        script += f"print(app.send_task({NAP!r}, ({seconds}, {LEDGER!r})).id)"
        command = ["env", "--chdir=/etc/trapd", f"{PLACE}/bin/python", "-B", "-c", script]
        return self.machine.run(*command).check().strip()

    def ledger(self, event: str) -> list[str]:
        """The tasks to which this happened, "start" or "end"."""
        return [entry.id for entry in self.entries() if entry.event == event]

    def entries(self) -> list[Entry]:
        return parse_ledger(self.machine.run("cat", LEDGER).out)

    # -- what is ---------------------------------------------------------------------------------------------------

    def workers(self) -> dict[str, int]:
        """The main processes of the worker units that run, as systemd says."""
        shown = self.machine.run("systemctl", "show", UNITS, "--property=Id,MainPID", "--state=active").check()
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n") if block]
        return {block["Id"]: int(block["MainPID"]) for block in blocks}

    def trapd(self) -> int:
        return int(self.machine.show("trapd", "MainPID")["MainPID"])

    def status(self) -> dict[str, Any]:
        """Empty while nobody answers, or one of another version does."""
        return ask_status(self.machine.socket(CONTROL))

    def generation(self) -> int:
        pools: Sequence[dict[str, Any]] = self.status()["pools"]
        return int(pools[0]["generation"])

    def wait(self, what: str, true: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Raises AssertionError with the end of the journal if it does not come true."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, f"no {what} in {timeout:g} s\n{self.machine.journal('--lines=60')}"
            time.sleep(0.2)

    def wait_current(self, timeout: float = PATIENCE) -> None:
        """Until trapctl says that everything is as desired. It is not asked while trapd itself says otherwise."""

        def current() -> bool:
            status = self.status()
            return (not status or at_rest(status)) and self.machine.run("trapctl", "status").code == 0

        self.wait("current workers", current, timeout)
