"""A stage on a machine with a systemd of its own: the application is a Debian package there, and apt upgrades it."""

from __future__ import annotations

import base64
import hashlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from tests.support import debian
from tests.support.daemon import News
from tests.support.installation import Installation
from tests.support.machine import Machine
from tests.support.sample import NAME, NAP, Entry, good, parse_ledger
from tests.support.service import LEDGER, PLACE, Service, redis
from tests.upgrades.stage import NAP_TIME, PACE, Stage, at_rest, wait_for

if TYPE_CHECKING:
    from trapd.control import documents

DIST_PACKAGES = "/usr/lib/python3/dist-packages"
_SENT = "/srv/sent"
_SUBMIT = f"""
import signal, time
from celery import Celery
app = Celery("submitter")
app.config_from_object("celeryconfig")
told = []  # between a task and its id an end would leave a task of nobody
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
while not told:
    with open("{_SENT}", "a") as sent:
        print(app.send_task("{NAP}", ({NAP_TIME}, "{LEDGER}"), ignore_result=True).id, file=sent)
    time.sleep({PACE})
"""


class Submitted:
    """What ``Tasks`` is on this machine: a unit of its own sends the tasks."""

    def __init__(self, service: Service) -> None:
        self._service, self._machine = service, service.machine
        self._before = len(service.ledger())
        self.sent: list[str] = []

    def __enter__(self) -> Self:
        command = ["systemd-run", "--quiet", "--unit=submitter", "--working-directory=/etc/trapd"]
        self._machine.run("rm", "-f", _SENT).check()
        self._machine.run(*command, f"{PLACE}/bin/python", "-B", "-c", _SUBMIT).check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._machine.systemctl("stop", "submitter")
        self.sent += self._machine.read(_SENT).split()
        if error is None:
            wait_for("the end of all tasks", lambda: set(self.sent) <= {entry.id for entry in self.ended()})

    def entries(self) -> list[Entry]:
        whole, _, _ = self._machine.run("cat", LEDGER).out.rpartition("\n")
        return parse_ledger(whole)[self._before :]

    def ended(self) -> list[Entry]:
        return [entry for entry in self.entries() if entry.event == "end"]


class OnMachine(Stage):
    """trapd is a service, the workers are units. ``place``: the folder that the application's package fills."""

    def __init__(self, home: Path, installation: Installation, environment: Path, place: str) -> None:
        super().__init__(home, home, redis())
        self._installation, self._environment, self._place = installation, environment, place
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.service = Service(
                lambda **options: stack.enter_context(Machine("machine", **options)),
                installation=self._installation,
                environment=self._environment,
                broker=self.broker,
                tables={
                    "watch": {"distributions": [NAME], "quiet_period": "3s"},
                    "rollout": {"min_ready": "0s"},
                    "pools.default": {"workers": self.workers, "concurrency": 1, "loglevel": "WARNING"},
                },
                seed=self.home / "seed",
            )
            machine = self.service.machine
            machine.sh(f"{PLACE}/bin/python -m pip --quiet uninstall --yes {NAME}").check()
            if self._place == DIST_PACKAGES:
                machine.sh(f"sed -i 's/\\(system-site-packages = \\)false/\\1true/' {PLACE}/pyvenv.cfg").check()
            self.apt("1.0")
            machine.systemctl("restart", "trapd")
            self.wait_until("workers on 1.0", at_rest)
            [pool] = cast("documents.Status", self.status())["pools"]
            self.generation = pool["generation"] or 0
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.words())
        self._stack.close()

    def apt(self, version: str, scripts: dict[str, str] | None = None, others: dict[str, str] | None = None) -> None:
        """``apt-get install`` a package with this version. ``others``: scripts of one that is configured after it."""
        name, info = f"python3-{NAME}", f"{NAME}-{version}.dist-info"
        files = {**good(version), f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"}
        files[f"{info}/RECORD"] = "".join(_record(path, text) for path, text in files.items()) + f"{info}/RECORD,,\n"
        in_place = {f"{self._place}/{path}": text for path, text in files.items()}
        packages = [debian.write_package(self.home, name, version, in_place, scripts)]
        if others:
            packages.append(debian.write_package(self.home, f"{NAME}-harbour", version, {}, others, depends=name))
        for package in packages:
            self.service.machine.copy_in(package, "/srv")
        command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet=2", "install"]
        self.service.machine.run(*command, *(f"/srv/{package.name}" for package in packages), timeout=120).check()

    # -- what trapd says -------------------------------------------------------------------------------------------

    def tasks(self) -> Any:
        return Submitted(self.service)

    def status(self) -> documents.Status | None:
        return cast("documents.Status", self.service.status()) or None

    def news(self) -> News:
        return self.service.news()

    def events(self, after: int = 0) -> list[documents.Event]:
        return [cast("documents.Event", event) for event in self.service.events() if event["id"] > after]

    def ctl(self, *arguments: str) -> tuple[int, str]:
        done = self.service.ctl(*arguments)
        return done.code, done.out

    def lives(self) -> bool:
        return True

    def words(self) -> str:
        return self.service.words()


def _record(path: str, text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(text.encode())}\n"
