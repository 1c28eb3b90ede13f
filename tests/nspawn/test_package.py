"""The Debian package, on a Debian: what it brings, what an upgrade leaves alone, and what is left when it goes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.nspawn.conftest import Boot
from tests.support import debian, fake_trap, packaged
from tests.support.brokers import Broker
from tests.support.load import outcome
from tests.support.machine import Done, Machine
from tests.support.packaged import PLACE, PREPARE, Host
from tests.support.sample import NAME, good
from tests.support.service import ServiceLoad, rabbitmq

pytestmark = pytest.mark.timeout(600)  # the package is built within the first test that needs it

USERS = ("trapd", "trapd-worker")
SITE = "/usr/lib/python3/dist-packages"


@pytest.fixture(scope="session")
def package(machines: None, pytestconfig: pytest.Config) -> Path:
    """trapd's package, as it is now."""
    assert pytestconfig.cache is not None
    return debian.build_package(pytestconfig.cache.mkdir("package"))


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a higher revision."""
    return debian.next_revision(package, tmp_path_factory.mktemp("newer"))


@pytest.fixture(scope="session")
def application(machines: None, pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache is not None
    return packaged.make_application(pytestconfig.cache.mkdir("trap-environment"))


@pytest.fixture
def host(boot: Boot, tmp_path: Path) -> Host:
    """A Debian that has never heard of trapd."""
    return Host(boot(prepare=PREPARE), tmp_path)


@pytest.fixture
def working(host: Host, package: Path, application: Path) -> Host:
    """One on which trapd is installed, with two workers that are current."""
    host.dpkg("--install", package)
    host.bring_application(application)
    host.bring_redis()
    host.machine.systemctl("reload", "trapd")
    host.wait_current()
    return host


def traces(machine: Machine) -> set[str]:
    """Every path that speaks of trapd, logs aside; systemd's notes on units that ended are its own."""
    own = "-path '*trapd*' -not -path '/var/log/*' -not -path '/run/systemd/units/*'"
    found = machine.sh(f"find /etc /opt /run /usr /var {own}").check()
    return set(found.splitlines())


# --- install --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(boot_for_module: Boot, package: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Done]:
    """A machine on which the package was just installed, and what apt said; for tests that only look."""
    host = Host(boot_for_module(prepare=PREPARE), tmp_path_factory.mktemp("wheels"))
    told = host.apt("install", package)
    host.wait("word from trapd", lambda: "cannot run" in host.machine.show("trapd", "StatusText")["StatusText"])
    return host.machine, told


def test_apt_installs_and_starts_it_and_it_says_what_is_missing(installed: tuple[Machine, Done]) -> None:
    machine, told = installed
    assert told.code == 0, told
    assert "trapctl check" in told.out
    assert machine.systemctl("is-enabled", "trapd") == "enabled\n"
    assert machine.systemctl("is-active", "trapd") == "active\n"
    assert machine.wait_running() == "running"
    shown = machine.run("trapctl", "status", user="nobody")
    assert shown.code == 1
    assert f"cannot run {PLACE}/bin/python" in shown.out
    assert f"cannot run {PLACE}/bin/python" in machine.show("trapd", "StatusText")["StatusText"]
    checked = machine.run("trapctl", "check")
    assert checked.code == 1
    assert f"cannot run {PLACE}/bin/python" in checked.out


def test_it_brings_users_units_commands_pages_and_completions(installed: tuple[Machine, Done]) -> None:
    machine, _ = installed
    assert machine.run("dpkg", "--verify", "trapd").check() == ""
    assert machine.run("getent", "passwd", *USERS).check().count("nologin") == 2
    assert machine.run("getent", "group", "trapd-submit").check().startswith("trapd-submit:")
    assert machine.exists("/run/systemd/generator/trapd-worker-default@.service")
    for command in ("trapd", "trapctl"):
        assert machine.run(command, "--version", user="nobody").check().startswith(command)
    for page in ("man8/trapd.8", "man1/trapctl.1", "man5/trapd.toml.5"):
        assert machine.run("zcat", f"/usr/share/man/{page}.gz").check().startswith(".TH TRAP")
    assert json.loads(machine.run("trapctl", "schema", user="nobody").check())["$defs"]
    shown = machine.sh("systemctl show --property=Documentation --value trapd.service trapd-worker-default@1-1").check()
    documents = {word for word in shown.split() if word.startswith("file://")}
    assert [machine.read(document.removeprefix("file://"))[:18] for document in documents] == ["# trapd on systemd"]
    complete = (
        ". /usr/share/bash-completion/completions/trapctl; COMP_WORDS=(trapctl rollout u); COMP_CWORD=2;"
        " _trapctl_completion trapctl; echo ${COMPREPLY[@]}"
    )
    assert machine.run("bash", "-c", complete).check() == "undo\n"
    assert "trapctl" in machine.read("/usr/share/zsh/vendor-completions/_trapctl")
    assert "trapctl" in machine.read("/usr/share/fish/vendor_completions.d/trapctl.fish")
    assert machine.sh("systemd-analyze verify trapd.service trapd-shutdown.service 2>&1").check() == ""


def test_it_depends_on_the_python_that_it_was_built_with(installed: tuple[Machine, Done]) -> None:
    """Its virtual environment works with that one only: 3.11 on Debian 12, 3.13 on Debian 13."""
    machine, _ = installed
    python = Path(machine.run("readlink", "-f", "/opt/trapd/bin/python").check().strip()).name
    wanted = machine.run("dpkg-query", "--show", "--showformat=${Depends}", "trapd").check().split(", ")
    assert [name for name in wanted if name.startswith("python")] == [python]
    assert machine.run("dpkg-query", "--search", f"/usr/bin/{python}").check().startswith(f"{python}-minimal:")


def test_only_root_and_the_workers_can_read_the_password(installed: tuple[Machine, Done]) -> None:
    machine, _ = installed
    config = "/etc/trapd/celeryconfig.py"
    assert machine.run("stat", "--format=%U:%G:%a", config).out == "root:trapd-worker:640\n"
    readers = [user for user in (*USERS, "nobody") if not machine.run("cat", config, user=user).code]
    assert readers == list(USERS)


def test_with_the_shipped_configuration_it_works_once_there_is_a_broker(
    host: Host, package: Path, application: Path, tmp_path: Path
) -> None:
    """RabbitMQ, as it is after its installation, on the same machine; and Trap with its source finder, both
    in /opt/trap: they come late."""
    machine = host.machine
    host.dpkg("--install", package)
    host.wait(
        "word of the interpreter", lambda: f"cannot run {PLACE}/bin/python" in machine.run("trapctl", "status").out
    )
    host.bring_environment(application)
    host.pip_install("radio-pyse", fake_trap.SOURCE_FINDER, {"sourcefinder/__init__.py": ""})
    trap = fake_trap.write(tmp_path / "trap", "1.4.0")
    host.pip_install("trap", "1.4.0", {str(f.relative_to(trap)): f.read_text() for f in trap.glob("trap/*.py")})
    host.wait("word of the broker", lambda: "cannot reach the broker" in machine.run("trapctl", "status").out)
    host.wait(
        "the same from systemctl", lambda: "reach the broker" in machine.show("trapd", "StatusText")["StatusText"]
    )
    assert "localhost:5672" in machine.run("trapctl", "check").out
    machine.sh("systemctl start rabbitmq-server", timeout=90).check()
    host.wait_current(90)
    assert machine.run("trapctl", "celery", "inspect", "ping").check().count("pong") == 1


@dataclass(frozen=True)
class Sender:
    """What ServiceLoad needs to know of a service."""

    machine: Machine
    broker: Broker


@pytest.mark.debian13
def test_from_apt_to_the_reboot(host: Host, package: Path, application: Path) -> None:
    """Installed, given an application, upgraded under load, rebooted: nothing is lost, and nothing runs twice."""
    machine = host.machine
    host.apt("install", package).check()
    host.bring_application(application)
    machine.sh("systemctl --quiet enable --now rabbitmq-server; systemctl reload trapd", timeout=90).check()
    host.wait_current()
    machine.copy_in(Path(__file__).parents[1], "/srv/submitter")
    broker = rabbitmq()
    broker = replace(broker, config=broker.config.replace(broker.queue, "celery"), queue="celery")  # as shipped
    load = ServiceLoad(Sender(machine, broker), slots=2)
    load.start()
    host.wait("tasks at work", lambda: len(host.ledger("end")) > 10)
    host.pip_install(NAME, "2.0", good("2.0"))
    host.wait("end of the rollout", lambda: rollouts(machine) == ["complete", "complete"], 120)
    sent = load.stop()
    now = time.monotonic()
    came = outcome(sent, host.entries(), new="2.0", steady_at=now, pip=(now, now))
    assert (came.lost, came.twice, came.mixed) == ((), (), ())
    assert came.versions.keys() == {"1.0", "2.0"}
    machine.reboot()
    host.wait("2 workers", lambda: len(host.workers()) == 2)
    host.wait_current()
    assert host.generation() == 2
    task = host.nap(0.1)
    host.wait("end of a task", lambda: task in host.ledger("end"))
    assert host.entries()[-1].version == "2.0"


# --- upgrade --------------------------------------------------------------------------------------------------------


def test_an_upgrade_leaves_the_workers_alone_and_the_new_trapd_takes_them_over(
    working: Host, newer: Path, pytestconfig: pytest.Config
) -> None:
    before, old, generation = working.workers(), working.trapd(), working.generation()
    assert len(before) == 2
    task = working.nap(40.0)  # longer than apt takes
    working.wait("start of the task", lambda: task in working.ledger("start"))
    configuration = working.machine.sh("stat --format='%n %U:%G:%a' /etc/trapd/*").check()
    told = working.apt("install", newer)
    assert told.code == 0, told
    assert working.trapd() not in (0, old)
    assert working.workers() == before
    assert task not in working.ledger("end")
    working.wait_current()
    assert (working.workers(), working.generation()) == (before, generation)
    working.wait("end of the task", lambda: task in working.ledger("end"))
    assert working.machine.sh("stat --format='%n %U:%G:%a' /etc/trapd/*").check() == configuration
    assert pytestconfig.cache is not None
    needrestart_leaves_workers_to_trapd(
        working, debian.download(pytestconfig.cache.mkdir("needrestart"), "needrestart")
    )


def needrestart_leaves_workers_to_trapd(host: Host, packages: Sequence[Path]) -> None:
    """The broker is restarted and so is trapd. The workers are recycled if they use what is no longer on the disk."""
    machine, before, trapd = host.machine, host.workers(), host.trapd()
    host.dpkg("--install", *packages)
    redis = machine.show("redis-server", "MainPID")
    replace_library(machine, "libsqlite3.so.0")  # of which only trapd has need
    told = needrestart(machine)
    assert "/etc/needrestart/restart.d/trapd.service" in told.out, told
    assert host.trapd() not in (0, trapd)
    assert (host.workers(), rollouts(machine), redis) == (before, ["complete"], machine.show("redis-server", "MainPID"))
    for library in ("libssl.so.3", "libcrypto.so.3"):  # of workers and the broker, and of trapd too
        replace_library(machine, library)
    told = needrestart(machine)
    assert not re.search(r"^ systemctl restart .*trapd-worker", told.out.partition("deferred")[0], re.MULTILINE), told
    assert machine.show("redis-server", "MainPID") != redis
    host.wait("end of the rollout", lambda: rollouts(machine) == ["complete", "complete"])
    assert not host.workers().keys() & before.keys()
    assert "needrestart: libraries changed" in machine.journal("-u", "trapd")
    assert "/etc/needrestart/restart.d/trapd.service" not in needrestart(machine).out, "nothing is left to do"


def replace_library(machine: Machine, name: str) -> None:
    """As dpkg does: the same bytes in another file."""
    machine.sh(f"cd /usr/lib/*-linux-gnu; file=$(readlink -f {name}); cp -p $file new; mv new $file").check()


def needrestart(machine: Machine) -> Done:
    done = machine.run("env", "DEBIAN_FRONTEND=noninteractive", "needrestart", "-r", "a", "-l", timeout=120)
    assert done.code == 0, done
    return done


@pytest.fixture(scope="module")
def host_with_trapd(boot_for_module: Boot, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A Debian with the package as it is installed, for the tests that upgrade it; dpkg takes the newer one again, too,
    with all that the package's scripts do at an upgrade."""
    host = Host(boot_for_module(prepare=PREPARE), tmp_path_factory.mktemp("wheels"))
    host.dpkg("--install", package)
    return host


@pytest.fixture
def idle(host_with_trapd: Host) -> Host:
    host_with_trapd.machine.systemctl("start", "trapd")
    return host_with_trapd


def test_a_trapd_that_was_stopped_stays_stopped_over_an_upgrade(idle: Host, newer: Path) -> None:
    idle.machine.systemctl("stop", "trapd")
    idle.dpkg("--install", newer)
    assert idle.machine.run("systemctl", "is-active", "trapd").out == "inactive\n"
    assert idle.machine.systemctl("is-enabled", "trapd") == "enabled\n"


def test_an_aborted_upgrade_leaves_no_mark(idle: Host, newer: Path) -> None:
    """trapd was stopped then, and somebody has started it since."""
    old = idle.trapd()
    idle.machine.sh("touch /run/trapd.stopped").check()
    idle.dpkg("--install", newer)
    assert idle.trapd() not in (0, old)
    assert not idle.machine.exists("/run/trapd.stopped")


def test_a_configuration_that_cannot_be_used_stops_no_upgrade(idle: Host, newer: Path) -> None:
    machine = idle.machine
    machine.sh("cp -p /etc/trapd/trapd.toml /tmp; echo 'nonsense = 1' >>/etc/trapd/trapd.toml").check()
    machine.sh("systemctl restart trapd || :").check()
    told = idle.dpkg("--install", newer)
    assert "Setting up trapd" in told
    assert "nonsense" in machine.journal("-u", "trapd")
    machine.sh("mv /tmp/trapd.toml /etc/trapd/trapd.toml; systemctl reset-failed trapd").check()


# --- remove and purge -----------------------------------------------------------------------------------------------


@pytest.mark.debian13
def test_removal_lets_running_tasks_end_and_purge_leaves_nothing(working: Host) -> None:
    machine = working.machine
    task = working.nap(8.0)
    working.wait("start of the task", lambda: task in working.ledger("start"))
    removed = working.apt("remove", "trapd")
    assert removed.code == 0, removed
    assert "finish their tasks" in removed.out
    assert task in working.ledger("end")
    assert working.workers() == {}
    assert machine.sh("systemctl list-units --plain --no-legend '*trapd*'").check() == ""
    stays = ("/etc/trapd", "/etc/needrestart/", "/var/lib/", "/var/cache/")
    left = {path for path in traces(machine) if not path.startswith(stays)}
    assert left <= {"/etc/systemd/system/trapd.service", "/etc/systemd/system/multi-user.target.wants/trapd.service"}
    assert f'app = "{NAME}.jobs:app"' in machine.read("/etc/trapd/trapd.toml")
    purged = working.apt("purge", "trapd")
    assert purged.code == 0, purged
    assert traces(machine) == set()
    assert machine.run("getent", "passwd", *USERS).check().count("\n") == 2
    assert not machine.run("systemctl", "--failed", "--plain", "--no-legend").check()


def test_what_was_removed_comes_back_as_it_was(working: Host, package: Path) -> None:
    generation = working.generation()
    working.apt("remove", "trapd").check()
    working.apt("install", package).check()
    working.wait_current()
    assert working.generation() == generation
    assert len(working.workers()) == 2


def test_workers_are_stopped_though_trapd_is_dead(working: Host) -> None:
    machine = working.machine
    machine.sh("systemctl mask --runtime trapd; systemctl kill --signal=KILL trapd").check()
    working.wait("its end", lambda: working.trapd() == 0)
    machine.sh("systemctl unmask --runtime trapd").check()
    assert len(working.workers()) == 2
    working.apt("remove", "trapd").check()
    assert working.workers() == {}


# --- the application as a Debian package ----------------------------------------------------------------------------


@pytest.fixture
def debianised(host: Host, package: Path, application: Path, tmp_path: Path) -> Callable[..., Path]:
    """trapd works on an application that is a Debian package; makes another version of that package."""
    host.dpkg("--install", package)
    host.bring_application(application)
    host.bring_redis()

    def build(version: str, scripts: dict[str, str] | None = None) -> Path:
        files = {f"{SITE}/{path}": text for path, text in good(version).items()}
        metadata = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"
        files[f"{SITE}/{NAME}-{version}.egg-info/PKG-INFO"] = metadata
        return debian.write_package(tmp_path, f"python3-{NAME}", version, files, scripts)

    machine = host.machine
    machine.sh(f"{PLACE}/bin/python -m pip --quiet uninstall --yes {NAME}").check()
    machine.sh(f"sed -i 's/\\(system-site-packages = \\)false/\\1true/' {PLACE}/pyvenv.cfg").check()
    host.dpkg("--install", build("1.0"))
    machine.systemctl("reload", "trapd")
    host.wait_current()
    return build


def rollouts(machine: Machine) -> list[str]:
    """The states of all rollouts, newest first."""
    answer = json.loads(machine.run("trapctl", "rollout", "history", "--json").check())
    return [one["state"] for one in answer["rollouts"]]


def settled(machine: Machine) -> int:
    """How often the watch said that something new is whole, or that nothing had changed."""
    return len(re.findall(r"settled: |no effect: ", machine.journal("-u", "trapd")))


def test_a_new_version_in_a_debian_package_is_one_recycle_and_the_trigger_alone_is_none(
    host: Host, debianised: Callable[..., Path]
) -> None:
    """dpkg's trigger and the watch both tell; tests/upgrades has what else apt does."""
    before = host.generation()
    host.dpkg("--install", debianised("2.0"))
    host.wait("generation", lambda: host.generation() > before)
    host.wait("2 new workers", lambda: [name.count(f"@{before + 1}-") for name in host.workers()] == [1, 1])
    host.wait("end of the rollout", lambda: rollouts(host.machine) == ["complete", "complete"])
    assert host.generation() == before + 1

    looks = settled(host.machine)
    host.machine.sh(f"dpkg-trigger --no-await {SITE}; dpkg --configure --pending").check()
    host.wait("look", lambda: settled(host.machine) > looks)
    assert "dpkg-has-finished" in host.machine.journal("-u", "trapd")
    assert host.generation() == before + 1
    assert not host.machine.exists(f"{SITE}/dpkg-has-finished")
