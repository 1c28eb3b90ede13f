"""The same upgrade under the same load by trapd and by what people use instead, in one run, as ratios.

The peers get what trapd does not need: an operator who types the command at the very moment pip has ended, and the best
options that their manuals offer for it (a stop that waits for the longest task, no signal to the Celery pool's
children). watchmedo restarts by itself. One broker, one application, the story of tests/support/upgrade.py.

Nothing here passes or fails: README.md beside this file holds what a run showed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from benchmarks.upgrade_under_load import broker
from tests.support import processes
from tests.support.environments import pip
from tests.support.load import Outcome
from tests.support.sample import Application, make_application, read_ledger
from tests.support.upgrade import Setting, under_load, upgrade_under_load

PACKAGES = ("supervisor>=4.2", "circus>=0.18", "watchdog[watchmedo]>=6", "setuptools<81")  # supervisor: pkg_resources
PATIENCE = 120.0  # s until a peer's recycle counts as stuck
STOP_WAIT = 600  # s that a worker gets to finish: longer than any task here


@dataclass(frozen=True)
class Peer:
    """Somebody else's supervisor, at work in ``directory``."""

    tools: Path  # where their commands are
    setting: Setting
    application: Application
    directory: Path

    def worker(self, number: str) -> str:
        """The command line of one worker: no mingle and no gossip, as trapd has it."""
        options = f"--loglevel=WARNING --concurrency={self.setting.concurrency} --without-mingle --without-gossip"
        return f"{self.application.python} -m celery --app shipyard.jobs worker {options} --hostname=w{number}@%%h"

    def environment(self) -> dict[str, str]:
        (self.directory / "celeryconfig.py").write_text(self.setting.celeryconfig())
        config = {"CELERY_LOADER": "default", "PYTHONPATH": str(self.directory)}  # which reads celeryconfig.py
        return {**os.environ, **config, "TRAPD_BENCHMARK_PEER": str(self.directory)}

    def call(self, *command: str) -> None:
        subprocess.run([str(self.tools / command[0]), *command[1:]], check=True, stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def runs(self, *command: str) -> Iterator[None]:
        """Their daemon, from the first task that its workers can take until everything is gone."""
        with (self.directory / "peer.log").open("wb") as log:
            daemon = subprocess.Popen(
                [str(self.tools / command[0]), *command[1:]], stdout=log, stderr=log, env=self.environment()
            )
        try:
            yield
        finally:
            daemon.terminate()
            processes.end_all(f"TRAPD_BENCHMARK_PEER={self.directory}", 30)
            daemon.wait()

    def current(self, since: float) -> Callable[[], bool]:
        """Whether everything that runs, by the ledger, runs on the new code, and did already two seconds ago."""

        def true() -> bool:
            open_: dict[str, str] = {}
            last_old = since
            for entry in read_ledger(self.directory / "ledger.jsonl"):
                if entry.event == "start":
                    open_[entry.id] = entry.version
                else:
                    open_.pop(entry.id, None)
                last_old = entry.at if entry.version == "1.0" else last_old
            return "2.0" in open_.values() and "1.0" not in open_.values() and time.monotonic() - last_old > 2

        return true

    def wait(self) -> None:
        began, true = time.monotonic(), self.current(time.monotonic())
        while not true() and time.monotonic() - began < PATIENCE:
            time.sleep(0.5)


def supervisord_one_by_one(peer: Peer) -> Outcome:
    """`supervisorctl restart` of each process in turn: the next one once the last one counts as running."""
    return _supervisord(peer, [f"worker:{number}" for number in range(peer.setting.workers)])


def supervisord_all(peer: Peer) -> Outcome:
    """`supervisorctl restart worker:*`, as most people type it."""
    return _supervisord(peer, ["worker:*"])


def _supervisord(peer: Peer, names: list[str]) -> Outcome:
    file, socket = peer.directory / "supervisord.conf", peer.directory / "supervisor.sock"
    file.write_text(
        dedent(f"""\
            [supervisord]
            nodaemon = true
            logfile = {peer.directory}/supervisord.log
            pidfile = {peer.directory}/supervisord.pid
            [unix_http_server]
            file = {socket}
            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
            [supervisorctl]
            serverurl = unix://{socket}
            [program:worker]
            command = {peer.worker("%(process_num)d")}
            numprocs = {peer.setting.workers}
            process_name = %(process_num)d
            stopwaitsecs = {STOP_WAIT}
            startsecs = 1
            """)
    )

    def restart() -> None:
        for name in names:
            peer.call("supervisorctl", "-c", str(file), "restart", name)
        peer.wait()

    with peer.runs("supervisord", "-c", str(file)):
        return _story(peer, restart)


def circus_reload(peer: Peer) -> Outcome:
    """`circusctl reload`: new ones first, then the old ones are told to stop, ready or not."""
    file = peer.directory / "circus.ini"
    endpoint = f"ipc://{peer.directory}/circus"
    file.write_text(
        dedent(f"""\
            [circus]
            endpoint = {endpoint}
            pubsub_endpoint = {endpoint}-pubsub
            check_delay = 1
            [watcher:worker]
            cmd = {peer.worker("$(circus.wid)").replace("%%h", "%h")}
            numprocesses = {peer.setting.workers}
            graceful_timeout = {STOP_WAIT}
            copy_env = True
            """)
    )

    def reload() -> None:
        peer.call("circusctl", "--endpoint", endpoint, "reload", "worker")
        peer.wait()

    with peer.runs("circusd", str(file)):
        return _story(peer, reload)


def watchmedo(peer: Peer) -> Outcome:
    """`watchmedo auto-restart` round each worker: by itself, a second after the last file was written."""
    package = peer.application.site_packages() / "shipyard"
    options = ["auto-restart", f"--directory={package.parent}", "--recursive", f"--patterns={package}/**/*.py"]
    options += ["--signal=SIGINT", f"--kill-after={STOP_WAIT}", "--debounce-interval=1"]  # SIGTERM would kill tasks
    with contextlib.ExitStack() as stack:
        for number in range(peer.setting.workers):
            command = peer.worker(str(number)).replace("%%h", "%h").split()
            stack.enter_context(peer.runs("watchmedo", *options, "--", *command))
        return _story(peer, peer.wait)


def _story(peer: Peer, recycled: Callable[[], object]) -> Outcome:
    time.sleep(5)  # until its workers consume
    came = under_load(peer.setting, peer.application, peer.directory, recycled)
    wanted = {"1.0": peer.setting.workers, "2.0": peer.setting.workers}
    if came.workers != wanted:
        print(f"not what was meant to be measured: workers {came.workers}, not {wanted}", file=sys.stderr)
    return came


PEERS: dict[str, Callable[[Peer], Outcome]] = {
    "supervisord, one by one": supervisord_one_by_one,
    "supervisord, all": supervisord_all,
    "circus, reload": circus_reload,
    "watchmedo auto-restart": watchmedo,
}
COLUMNS = ("lost", "twice", "rate kept", "longest gap", "first new", "gap, x trapd's", "first new, x trapd's")


def row(outcome: Outcome, trapd: Outcome) -> tuple[str, ...]:
    return (
        str(len(outcome.lost)),
        str(len(outcome.twice)),
        f"{outcome.rate_kept:.3f}",
        f"{outcome.during.longest_gap:.2f} s",
        f"{outcome.first_new:.2f} s",
        f"{outcome.during.longest_gap / trapd.during.longest_gap:.1f}",
        f"{outcome.first_new / trapd.first_new:.1f}",
    )


def show(name: str, cells: tuple[str, ...]) -> None:
    print(f"{name:26}" + "".join(f"{cell:>{len(column) + 3}}" for column, cell in zip(COLUMNS, cells, strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=("rabbitmq", "redis"), default="redis")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="td", dir="/tmp") as name, contextlib.ExitStack() as stack:
        top = Path(name)
        application = make_application(top)
        subprocess.run([sys.executable, "-m", "venv", str(top / "peers")], check=True)
        pip(top / "peers/bin/python", "install", *PACKAGES)

        def fresh(number: int) -> tuple[Setting, Path]:
            """A broker and a folder of its own for each, so that nobody meets what another left."""
            folder = top / str(number)
            (folder / "broker").mkdir(parents=True)
            where = stack.enter_context(broker(options.broker, folder / "broker"))
            (folder / "home").mkdir()
            return Setting(where, acks_late=False), folder / "home"

        setting, home = fresh(0)
        trapd = upgrade_under_load(setting, application, home).outcome
        show("", COLUMNS)
        show("trapd", row(trapd, trapd))
        for number, (who, upgrade) in enumerate(PEERS.items(), 1):
            application.install(application.wheel("1.0"))
            setting, home = fresh(number)
            show(who, row(upgrade(Peer(top / "peers/bin", setting, application, home)), trapd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
