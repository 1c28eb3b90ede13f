"""New code that does not run, or does odd things when it is imported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.site_packages import install
from tests.upgrades.proofs import prove
from tests.upgrades.rows import Outcome, Row, Wait, each
from tests.upgrades.ship import LIBRARY, Ship, application, library
from tests.upgrades.stage import Shared

pytestmark = [pytest.mark.together]

JOBS = "shipyard/jobs.py"
ELF_32_ARM = "\x7fELF\x01\x01\x01" + "\0" * 9 + "\x03\0\x28\0\x01" + "\0" * 100
Act = Callable[[Ship, str], None]


def at_import(name: str, text: str, **more: str) -> Act:
    """What installs a version whose task module does this at its import; ``more``: its other modules."""

    def act(stage: Ship, version: str) -> None:
        files = application(version)
        files[JOBS] += f"\n{text}\n"
        stage.put_application(version, {**files, **{f"shipyard/{key}": value for key, value in more.items()}})

    act.__name__ = name
    return act


def rename_the_application(stage: Ship, version: str) -> None:
    files = application(version)
    files[JOBS] = files[JOBS].replace("app = Celery", "yard = Celery").replace("@app.", "@yard.")
    stage.put_application(version, files)


def rename_the_module(stage: Ship, version: str) -> None:
    files = application(version)
    files["shipyard/work.py"] = files.pop(JOBS)
    stage.put_application(version, files)


def break_the_library(stage: Ship, version: str) -> None:
    """The application stays as it serves."""
    stage.put_application(stage.version, application(stage.version))
    files = {**library(version), f"{LIBRARY}/__init__.py": "raise RuntimeError('bent')\n"}
    install(stage.site, LIBRARY, version, files)


def mend(stage: Ship, version: str) -> None:
    stage.put(version)


def row(way: str, act: Act, reason: str, *, on_demand: bool = False) -> Row:
    return Row(way, act, Outcome.REJECTED, Wait.NOTHING, reason, on_demand=on_demand)


def odd(way: str, act: Act, *, on_demand: bool = False) -> Row:
    """New code that runs all the same."""
    return Row(way, act, Outcome.EXCHANGED, Wait.NOTHING, on_demand=on_demand)


SIGNALS = "import signal\n"
CRASH = "was killed by SIG"
HANG = "did not send READY within 1"
ROWS = [
    row("syntax error", at_import("syntax_error", "def f(:"), "SyntaxError: invalid syntax (jobs.py, line "),
    row(
        "import of a library that is not installed",
        at_import("missing_library", "import mast"),
        "ModuleNotFoundError: No module named 'mast'",
        on_demand=True,
    ),
    row("exception at import", at_import("raises", "raise RuntimeError('leak')"), "RuntimeError: leak", on_demand=True),
    row("`sys.exit(0)` at import", at_import("exits", "raise SystemExit(0)"), "failed to start (SystemExit: 0)"),
    row("Celery application renamed", rename_the_application, "shipyard.jobs has no 'app'"),
    row(
        "module of the Celery application renamed", rename_the_module, "No module named 'shipyard.jobs'", on_demand=True
    ),
    row(
        "Celery application that is none",
        at_import("no_application", "app = 3"),
        "cannot use shipyard.jobs:app: it is a int, not a Celery application",
        on_demand=True,
    ),
    row(
        "circular import",
        at_import("circular", "from shipyard import frame", **{"frame.py": "from shipyard.jobs import rib"}),
        "cannot import name 'rib' from partially initialized module 'shipyard.jobs'",
        on_demand=True,
    ),
    row(
        "endless recursion at import",
        at_import("recursion", "def f(): f()\nf()"),
        "RecursionError: maximum recursion depth exceeded",
        on_demand=True,
    ),
    row(
        "shared object missing",
        at_import("extension_missing", "from shipyard import _hull"),
        "ImportError: cannot import name '_hull' from 'shipyard'",
        on_demand=True,
    ),
    row(
        "shared object for another processor",
        at_import("extension_of_arm", "from shipyard import _hull", **{"_hull.so": ELF_32_ARM}),
        "_hull.so: wrong ELF class: ELFCLASS32",
        on_demand=True,
    ),
    row(
        "shared object that was cut off",
        at_import("extension_cut", "from shipyard import _hull", **{"_hull.so": ELF_32_ARM[:20]}),
        "_hull.so: file too short",
        on_demand=True,
    ),
    row(
        "`.pyc` alone, of another Python",
        at_import("old_pyc", "from shipyard import keelson", **{"keelson.pyc": "\x0b\r\r\n" + "\0" * 12}),
        "ImportError: bad magic number in 'shipyard.keelson'",
        on_demand=True,
    ),
    row(
        "import that writes into its own package",
        at_import("writes", "open(__file__ + '.cache', 'w')"),
        "OSError: [Errno 30] Read-only file system",
    ),
    row(
        "import that closes all file descriptors",
        at_import("closes_descriptors", "os.closerange(3, 256)"),
        "OSError: [Errno 9] Bad file descriptor",
        on_demand=True,
    ),
    row(
        "import that needs more memory than there is",
        at_import(
            "memory_error",
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))\nwide = bytearray(1 << 32)",
        ),
        "failed to start (MemoryError",
        on_demand=True,
    ),
    row("required library that raises at import", break_the_library, "with keel {old} -> {new}, default@"),
    row(
        "`os._exit(3)` at import",
        at_import("os_exit", "os._exit(3)"),
        "os._exit(3) was called in shipyard.jobs, line ",
        on_demand=True,
    ),
    row("segmentation fault at import", at_import("segfault", "import ctypes; ctypes.string_at(0)"), f"{CRASH}SEGV"),
    row(
        "import that the kernel kills for its memory",
        at_import("killed", "os.kill(os.getpid(), 9)"),
        f"{CRASH}KILL",
        on_demand=True,
    ),
    row("`abort()` at import", at_import("aborts", "os.abort()"), f"{CRASH}ABRT", on_demand=True),
    row(
        "import that leaves for the background",
        at_import("forks_away", "os.fork() and os._exit(0)"),
        "os._exit(0) was called in shipyard.jobs, line ",
        on_demand=True,
    ),
    row(
        "import that waits for a lock",
        at_import("locked", "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()"),
        HANG,
    ),
    row("endless loop at import", at_import("loop", "while True:\n    pass"), HANG, on_demand=True),
    Row("good version after all these", mend),
    odd("import that ignores SIGTERM", at_import("ignores_sigterm", f"{SIGNALS}signal.signal(15, signal.SIG_IGN)")),
    odd("import that prints 40 MB", at_import("floods", "for _ in range(400000):\n    print('x' * 99)")),
    odd(
        "import that takes every signal for itself",
        at_import("takes_signals", f"{SIGNALS}for number in (2, 3, 10, 15, 17):\n    signal.signal(number, print)"),
        on_demand=True,
    ),
    odd("import that empties the environment", at_import("empties", "os.environ.clear()"), on_demand=True),
    odd(
        "import that closes the output",
        at_import("closes_output", "import sys\nsys.stdout = sys.stderr = None"),
        on_demand=True,
    ),
    odd(
        "import that leaves a process behind",
        at_import("leaves_a_child", "if os.fork() == 0:\n    time.sleep(20)\n    os._exit(0)"),
        on_demand=True,
    ),
]


@each(ROWS)
def test_broken_code(ship: Shared, row: Row) -> None:
    prove(ship, row)
