"""trapd from pip, made a service by `trapctl install`: on a Debian without the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nspawn.conftest import Boot
from tests.nspawn.test_package import application, package, traces
from tests.support.machine import Machine
from tests.support.packaged import PREPARE, Host

pytestmark = pytest.mark.timeout(600)  # the virtual environment is that of the package, which may have to be built
__all__ = ["application", "package"]  # fixtures

BIN = "/opt/trapd/bin"
INSTALL, UNINSTALL = f"{BIN}/trapctl install", f"{BIN}/trapctl uninstall"


def bring(machine: Machine, package: Path) -> None:
    """What `pip install trapd` into a fresh virtual environment makes, and nothing else of the package."""
    machine.copy_in(package, "/srv")
    machine.sh(
        f"dpkg-deb -x /srv/{package.name} /srv/x; mkdir -p /opt; mv /srv/x/opt/trapd /opt/; rm -r /srv/x"
    ).check()


@pytest.fixture
def host(boot: Boot, package: Path, tmp_path: Path) -> Host:
    """A Debian with trapd in a virtual environment in /opt."""
    host = Host(boot(prepare=PREPARE), tmp_path)
    bring(host.machine, package)
    return host


def test_it_becomes_a_service_that_recycles_workers(host: Host, application: Path) -> None:
    machine = host.machine
    told = machine.sh(INSTALL).check()
    assert "wrote /usr/local/lib/systemd/system/trapd.service\n" in told
    assert told.splitlines()[-1].startswith("next: name your application")
    assert machine.show("trapd", "FragmentPath", "ActiveState") == {
        "FragmentPath": "/usr/local/lib/systemd/system/trapd.service",
        "ActiveState": "inactive",
    }
    host.bring_application(application)
    host.bring_redis()
    machine.systemctl("enable", "--now", "trapd")
    host.wait_current()
    assert len(host.workers()) == 2
    assert machine.run("stat", "--format=%U:%G:%a", "/etc/trapd/celeryconfig.py").out == "root:trapd-worker:640\n"
    assert machine.run("trapctl", "status", user="nobody").code == 0
    assert machine.exists("/usr/local/share/man/man1/trapctl.1")
    machine.reboot()
    host.wait_current()
    assert len(host.workers()) == 2


def test_done_again_it_changes_nothing_and_a_newer_trapd_only_what_is_new(host: Host, application: Path) -> None:
    machine = host.machine
    machine.sh(INSTALL).check()
    host.bring_application(application)
    host.bring_redis()
    machine.systemctl("start", "trapd")
    host.wait_current()
    before, configured = host.workers(), machine.sh("stat --format='%n %Y' /etc/trapd/*.*").check()
    assert machine.sh(INSTALL).check().splitlines() == [
        "systemd-sysusers trapd.conf",
        "kept /etc/trapd/trapd.toml",
        "kept /etc/trapd/celeryconfig.py",
        "systemd-tmpfiles --create trapd.conf",
        "systemctl daemon-reload",
        "trapd is installed",
    ]
    machine.sh("echo '# newer' >>/opt/trapd/share/trapd/systemd/trapd.service").check()
    told = machine.sh(INSTALL).check()
    assert [line for line in told.splitlines() if line.startswith(("wrote", "linked", "removed"))] == [
        "wrote /usr/local/lib/systemd/system/trapd.service"
    ]
    assert told.splitlines()[-1] == "next: systemctl restart trapd; its workers go on meanwhile"
    machine.systemctl("restart", "trapd")
    host.wait_current()
    assert (host.workers(), machine.sh("stat --format='%n %Y' /etc/trapd/*.*").check()) == (before, configured)


def test_uninstall_lets_running_tasks_end_and_takes_everything_back(host: Host, application: Path) -> None:
    machine = host.machine
    before = traces(machine)
    machine.sh(INSTALL).check()
    host.bring_application(application)
    host.bring_redis()
    machine.systemctl("enable", "--now", "trapd")
    host.wait_current()
    task = host.nap(6.0)
    host.wait("start of the task", lambda: task in host.ledger("start"))
    machine.sh(UNINSTALL).check()
    assert task in host.ledger("end")
    listing = "systemctl list-units --all --plain --no-legend '*trapd*'"
    host.wait("units unloaded", lambda: machine.sh(listing).check() == "")
    left = traces(machine) - before
    assert not [path for path in left if not path.startswith(("/etc/trapd", "/var/lib/", "/var/cache/", "/run/trapd"))]
    assert machine.exists("/etc/trapd/trapd.toml")
    assert "cannot uninstall: trapctl has installed nothing here" in machine.sh(UNINSTALL).err
    machine.sh(INSTALL).check()
    machine.sh(f"{UNINSTALL} --purge").check()
    assert traces(machine) == before
    assert machine.run("getent", "passwd", "trapd", "trapd-worker").check().count("\n") == 2


def test_another_system_can_be_prepared_below_a_folder(host: Host) -> None:
    told = host.machine.sh(f"{INSTALL} --root /srv/image").check()
    assert "systemctl" not in told
    groups = dict(line.split(":")[:3:2] for line in host.machine.read("/srv/image/etc/group").splitlines())
    shown = host.machine.run("stat", "--format=%u:%g:%a", "/srv/image/etc/trapd/celeryconfig.py").out
    assert shown == f"0:{groups['trapd-worker']}:640\n"
    assert host.machine.exists("/srv/image/var/lib/trapd/generations")
    assert not host.machine.exists("/usr/local/bin/trapctl")


# --- refusals: nothing is changed -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(boot_for_module: Boot, package: Path) -> Machine:
    machine = boot_for_module(prepare=f"{PREPARE}; useradd --create-home alice; chmod 0700 /home/alice")
    bring(machine, package)
    return machine


@pytest.fixture
def machine(shared: Machine) -> Iterator[Machine]:
    before = traces(shared)
    yield shared
    shared.sh("rm -rf /srv/venv /home/alice/venv").check()
    assert traces(shared) == before


@pytest.mark.parametrize(
    ("preparation", "venv", "reason"),
    [
        ("cp -a /opt/trapd /home/alice/venv", "/home/alice/venv", "services see nothing of /home"),
        ("cp -a /opt/trapd /srv/venv; chown -R alice: /srv/venv", "/srv/venv", "/srv/venv belongs to user alice"),
        ("cp -a /opt/trapd /srv/venv; chmod 0700 /srv/venv", "/srv/venv", "/srv/venv is closed to other users"),
        (
            "cp -a /opt/trapd /srv/venv; chown alice: /srv/venv/lib/python3*/site-packages/trapd/errors.py",
            "/srv/venv",
            "trapd/errors.py belongs to user alice",
        ),
        (
            "cp -a /opt/trapd /srv/venv; chmod o-r /srv/venv/lib/python3*/site-packages/trapd/errors.py",
            "/srv/venv",
            "trapd/errors.py (mode 0640)",
        ),
    ],
    ids=["home", "owner", "closed folder", "owner of a file", "closed file"],
)
def test_an_interpreter_that_services_cannot_use_is_refused(
    machine: Machine, preparation: str, venv: str, reason: str
) -> None:
    machine.sh(preparation).check()
    done = machine.run(f"{venv}/bin/python", "-B", "-m", "trapd.ctl.main", "install")
    assert (done.code, done.out) == (1, "")
    assert "cannot install trapd as a service" in done.err
    assert reason in done.err


def test_only_root_may(machine: Machine) -> None:
    for command in (INSTALL, UNINSTALL):
        done = machine.sh(command, user="alice")
        assert done.code == 4
        assert "only root" in done.err


def test_without_polkit_it_is_refused(machine: Machine) -> None:
    machine.sh("systemctl mask --runtime polkit").check()
    try:
        assert "systemctl unmask polkit" in machine.sh(INSTALL).err
    finally:
        machine.sh("systemctl unmask --runtime polkit").check()


def test_the_package_and_this_do_not_come_together(host: Host, package: Path) -> None:
    host.machine.sh(INSTALL).check()
    refused = host.machine.run("dpkg", "--install", f"/srv/{package.name}")
    assert refused.code != 0
    assert "trapctl uninstall" in refused.err
    host.machine.sh(f"{UNINSTALL} --purge").check()
    host.dpkg("--install", package)
    assert "apt remove trapd" in host.machine.sh(INSTALL).err
