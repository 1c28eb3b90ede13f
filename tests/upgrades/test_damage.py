"""An installation that goes wrong: interrupted, deleted, or done twice."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.sample import NAME
from tests.support.site_packages import install
from tests.support.wheels import write_wheel
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Outcome, Row, Wait, each
from tests.upgrades.ship import LIBRARY, Ship, application, library
from tests.upgrades.stage import Shared

pytestmark = [pytest.mark.together]

Act = Callable[[Ship, str], None]


def put(stage: Ship, version: str) -> None:
    stage.put(version)


def pip_install(stage: Ship, version: str) -> None:
    stage.run_pip("install", *stage.offline(version))


# -- by pip and people -----------------------------------------------------------------------------------------------


def looked_at(act: Act) -> Act:
    """The same, and somebody asks: inside libraries and metadata the watch hears nothing until its next look."""

    def asked(stage: Ship, version: str) -> None:
        act(stage, version)
        stage.daemon.ctl("rollout", "status", "--timeout", "1s")

    asked.__name__ = act.__name__
    return asked


def uninstall_the_library(stage: Ship, version: str) -> None:
    stage.run_pip("uninstall", "--yes", LIBRARY)


def uninstall_the_application(stage: Ship, version: str) -> None:
    stage.run_pip("uninstall", "--yes", NAME)


@looked_at
def delete_half_of_the_library(stage: Ship, version: str) -> None:
    for number in range(10):
        (stage.site / f"{LIBRARY}/m{number}.py").unlink()


def empty_a_module(stage: Ship, version: str) -> None:
    (stage.site / "shipyard/jobs.py").write_text("")


@looked_at
def delete_record_of_the_library(stage: Ship, version: str) -> None:
    (stage.info(LIBRARY) / "RECORD").unlink()


@looked_at
def delete_metadata(stage: Ship, version: str) -> None:
    (stage.info(NAME) / "METADATA").unlink()


def delete_all_metadata(stage: Ship, version: str) -> None:
    shutil.rmtree(stage.info(NAME))


def leave_two_versions(stage: Ship, version: str) -> None:
    shutil.copytree(stage.info(LIBRARY), stage.site / f"{LIBRARY}-0.9.dist-info")


def remove_the_other_version(stage: Ship, version: str) -> None:
    shutil.rmtree(stage.site / f"{LIBRARY}-0.9.dist-info")
    stage.put(version)


@looked_at
def put_a_pipe_in_place_of_a_module(stage: Ship, version: str) -> None:
    (stage.site / f"{LIBRARY}/m3.py").unlink()
    os.mkfifo(stage.site / f"{LIBRARY}/m3.py")


@looked_at
def close_a_module(stage: Ship, version: str) -> None:
    """Root reads files of any mode, but what the kernel has declared write-only not even root."""
    (stage.site / f"{LIBRARY}/m3.py").unlink()
    (stage.site / f"{LIBRARY}/m3.py").symlink_to("/proc/sys/vm/compact_memory")


@looked_at
def patch_a_module(stage: Ship, version: str) -> None:
    """As rsync does, or a clock that stands: of the same size and the same time."""
    module = stage.site / f"{LIBRARY}/m3.py"
    times = module.stat().st_atime_ns, module.stat().st_mtime_ns
    module.write_text(module.read_text().replace("VERSION", "EDITION"))
    os.utime(module, ns=times)


# -- what lies around it ---------------------------------------------------------------------------------------------


def aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.aside")


def move_away(name: str, of: Callable[[Ship], Path]) -> tuple[Act, Act]:
    """What moves something away, and what moves it back and installs the new version."""

    def act(stage: Ship, version: str) -> None:
        of(stage).rename(aside(of(stage)))

    def back(stage: Ship, version: str) -> None:
        aside(of(stage)).rename(of(stage))
        stage.put(version)

    act.__name__ = name
    return act, back


VENV = move_away("remove_the_environment", lambda stage: stage.venv)
PYVENV = move_away("remove_pyvenv_cfg", lambda stage: stage.venv / "pyvenv.cfg")
CONFIG = move_away("remove_the_celeryconfig", lambda stage: stage.home / "celeryconfig.py")


def break_the_interpreters_link(stage: Ship, version: str) -> None:
    stage.python.rename(aside(stage.python))
    stage.python.symlink_to("/nowhere/python")


def mend_the_interpreters_link(stage: Ship, version: str) -> None:
    aside(stage.python).replace(stage.python)
    stage.put(version)


WRONG = "\nbroker_heartbeat = 1 / 0\n"


def break_the_celeryconfig(stage: Ship, version: str) -> None:
    file = stage.home / "celeryconfig.py"
    file.write_text(file.read_text() + WRONG)


def mend_the_celeryconfig(stage: Ship, version: str) -> None:
    file = stage.home / "celeryconfig.py"
    file.write_text(file.read_text().removesuffix(WRONG))
    stage.put(version)


def start_up_file(name: str, text: str) -> tuple[Act, Act]:
    """What puts a file there that each Python of the environment runs when it starts; what removes it again."""

    def act(stage: Ship, version: str) -> None:
        (stage.site / "started.py").write_text(text)
        (stage.site / "started.pth").write_text("import started\n")  # Debian's Python has a sitecustomize of its own

    def back(stage: Ship, version: str) -> None:
        (stage.site / "started.pth").unlink()
        stage.put(version)

    act.__name__ = name
    return act, back


LEAVES = start_up_file("start_up_exits", "import os\nos._exit(3)\n")


# -- that harms nothing ----------------------------------------------------------------------------------------------


def leave_an_editors_lock(stage: Ship, version: str) -> None:
    (stage.site / "shipyard/.#jobs.py").symlink_to("anna@host.1234:1700000000")


@contextlib.contextmanager
def cut_off(wheel: Path) -> Iterator[str]:
    """The address of a package index on this host that sends half of the wheel, and no more."""

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path.endswith(".whl"):
                content = wheel.read_bytes()
                self.send_header("Content-Length", str(len(content)))
                content = content[: len(content) // 2]
            else:
                content = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
                self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def interrupt_a_download(stage: Ship, version: str) -> None:
    stage.offline("9.0")
    with cut_off(stage.home / f"wheels/{NAME}-9.0-py3-none-any.whl") as index:
        options = ["--retries", "0", "--no-deps", "--no-cache-dir", "--index-url", index]
        command = [str(stage.python), "-m", "pip", "--disable-pip-version-check", "install", *options, f"{NAME}==9.0"]
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def run_out_of_room(stage: Ship, version: str) -> None:
    """pip may write no file of more than 4 KiB, and puts everything back when it fails."""
    write_wheel(stage.home / "wheels", LIBRARY, "9.0", {**library("9.0"), f"{LIBRARY}/z.py": "x = 1\n" * 5000})
    pip = [str(stage.python), "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    command = ["prlimit", "--fsize=4096", *pip, "--find-links", str(stage.home / "wheels"), f"{LIBRARY}==9.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr, done.stderr


# -- that comes to its end -------------------------------------------------------------------------------------------


def pip_in_a_loop(stage: Ship, version: str) -> None:
    stage.run_pips(*(["install", *stage.offline(round)] for round in (f"{version}.dev1", f"{version}.dev2", version)))


def two_pips_at_once(stage: Ship, version: str) -> None:
    folder = stage.offline(version)[2]
    command = [str(stage.python), "-m", "pip", "install", "--no-index", "--no-deps", "--find-links", folder]
    pips = [
        subprocess.Popen([*command, f"{name}=={version}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in (LIBRARY, NAME)
    ]
    assert [pip.wait() for pip in pips] == [0, 0]


def of_times(name: str, ago: float) -> Act:
    """What installs files that are so many seconds old."""

    def act(stage: Ship, version: str) -> None:
        stage.put(version)
        for file in [*stage.site.glob("shipyard/*"), *stage.site.glob(f"{LIBRARY}/*")]:
            os.utime(file, (time.time() - ago,) * 2)

    act.__name__ = name
    return act


def same_version_rebuilt(stage: Ship, version: str) -> None:
    install(stage.site, LIBRARY, stage.version, {**library(version), f"{LIBRARY}/new.py": ""})
    install(stage.site, NAME, stage.version, application(version), requires=[LIBRARY])


def older_version(stage: Ship, version: str) -> None:
    install(stage.site, NAME, "0.1", application(version), requires=[LIBRARY])


def kept(way: str, act: Act, reason: str, repair: Act = put, *, on_demand: bool = False) -> Row:
    return Row(way, act, Outcome.KEPT, Wait.NOTHING, reason, repair, on_demand)


YEAR = 365 * 86400.0
ROWS = [
    kept(
        "`pip uninstall` of a library that is required",
        uninstall_the_library,
        "shipyard requires keel=={old}, which is not installed; ",
        pip_install,
    ),
    kept(
        "`pip uninstall` of the application",
        uninstall_the_application,
        "shipyard cannot be found by {python}; ",
        pip_install,
    ),
    kept(
        "half of the library's modules deleted by hand, and `trapctl rollout status`",
        delete_half_of_the_library,
        "keel is not whole: {site}/keel/m0.py is missing, and 9 more of its files are not as installed; ",
    ),
    kept(
        "module empty, as after a power cut",
        empty_a_module,
        "shipyard is not whole: {site}/shipyard/jobs.py has 0 bytes, not ",
        on_demand=True,
    ),
    kept(
        "module of a library patched, with the size and times of before, and `trapctl rollout status`",
        patch_a_module,
        "keel is not whole: {site}/keel/m3.py has another content than was installed; ",
        on_demand=True,
    ),
    kept(
        "RECORD of a required library missing, and `trapctl rollout status`",
        delete_record_of_the_library,
        "keel is not installed to its end: keel-{old}.dist-info has no RECORD that can be read; ",
        on_demand=True,
    ),
    kept(
        "dist-info without METADATA, and `trapctl rollout status`",
        delete_metadata,
        "shipyard is not whole: {site}/shipyard-{old}.dist-info/METADATA is missing; ",
        on_demand=True,
    ),
    kept(
        "dist-info missing",
        delete_all_metadata,
        "shipyard is not installed to its end: its code is in {site}, and its metadata is not; ",
    ),
    kept(
        "two versions of a library at once",
        leave_two_versions,
        "two versions of keel are in {site}: keel-0.9.dist-info, keel-{old}.dist-info; ",
        remove_the_other_version,
        on_demand=True,
    ),
    kept(
        "named pipe in the place of a module, and `trapctl rollout status`",
        put_a_pipe_in_place_of_a_module,
        "cannot read {site}/keel/m3.py: not a regular file",
        on_demand=True,
    ),
    kept(
        "module of a library that trapd may not read, and `trapctl rollout status`",
        close_a_module,
        "cannot read {site}/keel/m3.py: permission denied; ",
        on_demand=True,
    ),
    kept("virtual environment removed", VENV[0], "cannot run {python}: no such file or directory", VENV[1]),
    kept(
        "link of the interpreter broken",
        break_the_interpreters_link,
        "cannot run {python}: no such file or directory",
        mend_the_interpreters_link,
        on_demand=True,
    ),
    kept("pyvenv.cfg missing", PYVENV[0], "shipyard cannot be found by {python}; ", PYVENV[1], on_demand=True),
    kept(
        "start-up file of Python that exits",
        LEAVES[0],
        "cannot ask {python} for its import path; ",
        LEAVES[1],
        on_demand=True,
    ),
    kept(
        "celeryconfig that raises",
        break_the_celeryconfig,
        "celeryconfig.py:",
        mend_the_celeryconfig,
    ),
    kept("celeryconfig missing", CONFIG[0], "cannot load ", CONFIG[1], on_demand=True),
    Row("lock of an editor in the package, a link to nowhere", leave_an_editors_lock, Outcome.UNCHANGED, Wait.NOTHING),
    Row("`pip install` whose download is cut off", interrupt_a_download, Outcome.UNCHANGED, Wait.NOTHING),
    Row("`pip install` that cannot write a file, as on a full disk", run_out_of_room, Outcome.UNCHANGED, Wait.NOTHING),
    Row("`pip install` three times in a loop", pip_in_a_loop, reason=" -> {new}"),  # on a slow machine, from the second
    Row("two `pip install` at once", two_pips_at_once, on_demand=True),
    Row("files older than those before, as from `rsync -a`", of_times("files_of_last_year", YEAR)),
    Row("files from the future, as after a wrong clock", of_times("files_of_next_year", -YEAR), on_demand=True),
    Row("the same version, built anew", same_version_rebuilt, reason="keel {old}, other content"),
    Row("an older version", older_version, reason=" -> 0.1"),
]


@each(ROWS)
def test_damage(ship: Shared, row: Row) -> None:
    prove(ship, row)
