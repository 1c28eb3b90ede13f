"""A throw-away machine with a real systemd: systemd-nspawn on an overlay of this machine's root, or of that of another
release (tests/support/release.py).

It boots in about half a second, has a cgroup, a mount and a network namespace of its own, sees Debian's packages as
they are installed there but nothing else (no home, no /opt, not this repository), and forgets everything at the end.
Its CLOCK_MONOTONIC is ours. Needs root and Debian's package systemd-container.

    with Hub() as hub, Machine("one", hub=hub) as one, Machine("two", hub=hub) as two:
        two.sh("ping -c 1 one").check()
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import release

BOOT = Path(__file__).with_name("machine_boot.sh")
PREFIX = "trapd-machine-"  # of scratch folders and cgroups, followed by the process id of the test session
BOOT_TIMEOUT = 120.0  # s; it takes 0.3 to 2.4 s, and after a reboot as long as the services need to stop
# Since 256, systemd has to be told that cgroups of version 1 are meant; each machine has those that this one has.
INIT = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
STOP_TIMEOUT = 30.0  # s that the machine's services get to stop
PROGRAMS = ("systemd-nspawn", "dbus-daemon", "unshare", "nsenter", "setpriv", "ip")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNNING: set[int] = set()  # our numbers for the processes that keep machines: they may outlive a test, by intention
NETWORK = "10.77.0"  # of a hub; in a namespace of its own, so it meets no other


class MachineError(Exception):
    """The machine did not do what was asked; the message has its own words."""


class MissingMachineError(Exception):
    """No machine can be booted here; the message says why."""


def require() -> None:
    """Raises MissingMachineError where machines cannot be booted."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if missing:
        raise MissingMachineError(
            f"cannot boot a machine: no {missing[0]}; install systemd-container, dbus and iproute2"
        )
    if os.geteuid() != 0:
        raise MissingMachineError("cannot boot a machine: systemd-nspawn needs root")


class Hub:
    """A bridge in a network namespace of its own: the machines on it reach each other, and nothing else, by name."""

    def __init__(self) -> None:
        self._holder: subprocess.Popen[bytes] | None = None
        self._machines: list[str] = []

    def __enter__(self) -> Hub:
        script = (
            f"ip link set lo up; ip link add br0 type bridge; ip addr add {NETWORK}.1/24 dev br0; ip link set br0 up"
        )
        self._holder = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "unshare",
                "-n",
                "sh",
                "-euc",
                f"{script}; echo up; exec sleep infinity",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            self.__exit__()
            raise MachineError("cannot make a bridge")
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()

    @property
    def namespace(self) -> str:
        assert self._holder is not None
        return f"/proc/{self._holder.pid}/ns/net"

    def address(self, machine: str) -> str:
        """The machine's address: by the order in which they are first named."""
        if machine not in self._machines:
            self._machines.append(machine)
        return f"{NETWORK}.{self._machines.index(machine) + 2}"


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    command: Sequence[str]
    code: int
    out: str
    err: str

    def check(self) -> str:
        """Its output. Raises MachineError if it failed."""
        if self.code:
            raise MachineError(f"{' '.join(self.command)}: exit status {self.code}\n{self.out}\n{self.err}")
        return self.out


class Machine:
    """One machine, from ``__enter__`` to ``__exit__``.

    ``binds``: path in the machine -> folder here, shown read-only. ``seed``: a tree that is copied over its root before
    it boots; ``prepare``: shell commands that run in its root before it boots. ``peers``: names of the other machines
    on the hub that it is to know. ``options``: further ones for systemd-nspawn. ``size``: of its disk, in memory.
    """

    def __init__(
        self,
        name: str = "machine",
        *,
        binds: Mapping[str, Path] | None = None,
        seed: Path | None = None,
        prepare: str = "",
        hub: Hub | None = None,
        peers: Sequence[str] = (),
        options: Sequence[str] = (),
        size: str = "2g",
        boot_timeout: float = BOOT_TIMEOUT,
        stop_timeout: float = STOP_TIMEOUT,
    ) -> None:
        self.name, self.hub, self.seed, self.prepare = name, hub, seed, prepare
        self.peers, self.size, self.boot_timeout, self.stop_timeout = peers, size, boot_timeout, stop_timeout
        self.options = [*options, *(f"--bind-ro={here}:{there}" for there, here in (binds or {}).items())]
        self.leader = 0  # our number for its PID 1
        self.booted_in = 0.0  # s
        self._process: subprocess.Popen[bytes] | None = None
        self._said: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()

    # -- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Machine:
        require()
        sweep()
        self._base = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        try:
            self._lay_out()
            self._launch()
            self._wait_until_booted()
        except BaseException:
            self.close(by_force=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lay_out(self) -> None:
        for folder in ("disk", "root"):
            (self._base / folder).mkdir()
        self._base.chmod(0o755)  # its root is seen by the machine's users
        if self.seed:
            shutil.copytree(self.seed, self._base / "seed", symlinks=True)
        hosts = [("127.0.0.1", "localhost"), *([] if self.hub else [("127.0.1.1", self.name)])]
        prepare = self.prepare
        if self.hub:
            hosts += [(self.hub.address(name), name) for name in (self.name, *self.peers)]
            prepare = _network_unit(self.hub.address(self.name)) + prepare
        (self._base / "prepare.sh").write_text(prepare)
        (self._base / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (self._base / "hosts").write_text("".join(f"{address} {name}\n" for address, name in hosts))
        self._console = self._base / "console.log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.bind(str(self._base / "notify"))
        self._listener = threading.Thread(target=self._listen, name=f"words of {self.name}", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """systemd-nspawn hands on what its PID 1 says, for instance each second of a long stop. Both stand still if
        nobody takes it."""
        while words := self._notify.recv(8192):
            self._said.put(dict(line.split("=", 1) for line in words.decode().splitlines() if "=" in line))

    def _launch(self) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if name.startswith("TRAPD_TEST_SESSION")},
            "PATH": PATH,
            "BASE": str(self._base),
            "NAME": self.name,
            "SIZE": self.size,
            "CGROUP": self._base.name,
            "ROOT": str(release.root()),
            "INIT": INIT,
            "NOTIFY_SOCKET": str(self._base / "notify"),
        }
        # The signal at our death follows the thread that started the process: boot from one that outlives the machine.
        command = ["setpriv", "--pdeathsig", "TERM"]
        command += ["nsenter", f"--net={self.hub.namespace}"] if self.hub else []
        command += ["unshare", "-m", "--propagation", "private", "sh", str(BOOT)]
        command += ["--network-bridge=br0"] if self.hub else ["--private-network"]
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [*command, *self.options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        RUNNING.add(self._process.pid)

    def _wait_until_booted(self) -> None:
        """Until its PID 1 says READY, which systemd does when the default target is reached."""
        assert self._process is not None
        began, leader, fields = time.monotonic(), 0, dict[str, str]()
        while not (fields.get("READY") == "1" and leader):  # without that, it is of the boot before
            ended, took = self._process.poll() is not None, time.monotonic() - began
            if ended or took > self.boot_timeout:
                why = "it ended" if ended else f"not in {self.boot_timeout:g} s"
                raise MachineError(f"cannot boot {self.name}: {why}\n{self.console()}")
            with contextlib.suppress(queue.Empty):
                fields = self._said.get(timeout=0.1)
                leader = int(fields.get("X_NSPAWN_LEADER_PID", leader))
        self.leader, self.booted_in = leader, time.monotonic() - began

    def reboot(self) -> None:
        """An orderly reboot: services are stopped, the disk stays."""
        self.run("systemctl", "reboot", timeout=self.stop_timeout)
        self._wait_until_booted()

    def pull_the_plug(self) -> None:
        """All its processes die at once, and it boots again; what was written to the disk stays."""
        (self._base / "again").touch()
        os.kill(self.leader, signal.SIGKILL)
        self._wait_until_booted()

    def close(self, by_force: bool = False) -> None:
        """End it, orderly unless ``by_force``; leaves no process, mount, cgroup or file behind, whatever happened."""
        process, self._process = self._process, None
        try:
            if process is not None and not by_force:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.stop_timeout)
        finally:
            if process is not None and process.poll() is None:
                process.kill()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process is not None:
                RUNNING.discard(process.pid)
            if hasattr(self, "_listener"):
                self._notify.shutdown(socket.SHUT_RD)  # which ends the thread
                self._listener.join()
                self._notify.close()
            _remove(self._base)

    # -- use -------------------------------------------------------------------------------------------------------

    def command(self, *command: str, user: str | None = None) -> list[str]:
        """The argv here that runs ``command`` there, with an environment of its own."""
        who = ["runuser", "-u", user, "--"] if user else []
        enter = ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-n", "-C", "--wdns=/", "--"]
        env = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0"]
        return [*enter, *env, *who, *command]

    def run(self, *command: str, user: str | None = None, timeout: float = 60.0, input: str | None = None) -> Done:
        """Run a command in the machine. Raises subprocess.TimeoutExpired."""
        with subprocess.Popen(
            self.command(*command, user=user),
            text=True,
            errors="replace",
            start_new_session=True,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # nsenter, and the command that it forked
                raise
        return Done(command, process.returncode, out, err)

    def sh(self, script: str, *, user: str | None = None, timeout: float = 60.0) -> Done:
        return self.run("sh", "-euc", script, user=user, timeout=timeout)

    def systemctl(self, *arguments: str, timeout: float = 60.0) -> str:
        """Its output. Raises MachineError if it fails."""
        return self.run("systemctl", *arguments, timeout=timeout).check()

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, as ``systemctl show`` writes them."""
        lines = self.systemctl("show", unit, f"--property={','.join(properties)}").splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def wait_running(self, timeout: float = 60.0) -> str:
        """Wait until nothing is being started any more; "running", or "degraded" if a unit failed."""
        return self.run("systemctl", "is-system-running", "--wait", timeout=timeout).out.strip()

    # -- what it says ----------------------------------------------------------------------------------------------

    def journal(self, *arguments: str) -> str:
        """journalctl's output, of all that was said until now; the arguments are its own, for instance ``-u``."""
        return self._journalctl("-o", "short-monotonic", *arguments)

    def entries(self, *arguments: str) -> list[dict[str, Any]]:
        """The journal's entries with all their fields."""
        return [json.loads(line) for line in self._journalctl("-o", "json", *arguments).splitlines()]

    def _journalctl(self, *arguments: str) -> str:
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", *arguments).check()

    def console(self) -> str:
        """The end of what systemd-nspawn and the machine's PID 1 wrote."""
        return self._console.read_text(errors="replace")[-4000:]

    # -- files -----------------------------------------------------------------------------------------------------
    # Through a command in the machine, never through /proc/<leader>/root: absolute links there lead to our own files.

    def put(self, path: str, text: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file, and the folders it lies in."""
        script = 'mkdir -p "$(dirname "$1")"; cat >"$1"; chown "$3" "$1"; chmod "$2" "$1"'
        self.run("sh", "-euc", script, "sh", path, f"{mode:o}", owner, input=text).check()

    def read(self, path: str) -> str:
        return self.run("cat", path).check()

    def exists(self, path: str) -> bool:
        return self.run("test", "-e", path).code == 0

    def socket(self, path: str) -> Path:
        """Where a socket of the machine can be reached from here; no part of its path may be a link."""
        return Path(f"/proc/{self.leader}/root{path}")

    def copy_in(self, source: Path, into: str) -> None:
        """Copy a file or a tree from here into a folder of the machine; owned by root there."""
        self.run("mkdir", "-p", into).check()
        pack = ["tar", "-C", str(source.parent), "--owner=0", "--group=0", "-cf", "-", source.name]
        self._pipe(pack, self.command("tar", "-C", into, "-xf", "-"))

    def copy_out(self, source: str, into: Path) -> None:
        """Copy a file or a tree from the machine into a folder here; links are followed."""
        path = Path(source)
        pack = self.command("tar", "-C", str(path.parent), "-chf", "-", path.name)
        self._pipe(pack, ["tar", "-C", str(into), "-xf", "-"])

    def _pipe(self, source: Sequence[str], sink: Sequence[str]) -> None:
        with subprocess.Popen(source, stdout=subprocess.PIPE) as process:
            done = subprocess.run(sink, stdin=process.stdout)
        if process.returncode or done.returncode:
            raise MachineError(f"cannot copy: {' '.join(source)} | {' '.join(sink)}")

    def enable_limits(self) -> None:
        """Make MemoryMax=, TasksMax= and CPUQuota= work on a host with cgroups of version 1: nspawn mounts them
        read-only."""
        mounts = "for d in cpu cpuacct memory pids blkio; do mount -o remount,rw,bind /sys/fs/cgroup/$d; done"
        self.sh(f"[ ! -d /sys/fs/cgroup/memory ] || {{ {mounts}; systemctl daemon-reexec; }}").check()


def _network_unit(address: str) -> str:
    """Shell commands that give the machine this address at each boot, before anything needs the network."""
    return f"""
cat >/etc/systemd/system/hub-address.service <<'END'
[Unit]
DefaultDependencies=no
Before=network-pre.target sysinit.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip addr add {address}/24 dev host0
ExecStart=ip link set host0 up
END
mkdir -p /etc/systemd/system/sysinit.target.wants
ln -s ../hub-address.service /etc/systemd/system/sysinit.target.wants/
"""


def sweep() -> None:
    """Remove what machines of sessions that were killed have left: empty cgroups and a scratch folder."""
    for base in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        session = base.name.removeprefix(PREFIX).partition("-")[0]
        if session.isdigit() and not Path(f"/proc/{session}").exists():
            _remove(base)


def _remove(base: Path) -> None:
    """End whatever is left in a machine's cgroups, and remove them and its scratch folder."""
    cgroups = base / "cgroups"
    tops = cgroups.read_text().splitlines() if cgroups.exists() else []
    deadline = time.monotonic() + 30.0
    while any(Path(top).exists() for top in tops) and time.monotonic() < deadline:
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):  # they are gone, or leave the cgroup a moment after their end
                    for pid in Path(folder, "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        time.sleep(0.02)
    shutil.rmtree(base, ignore_errors=True)
