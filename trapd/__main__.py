"""``trapd [--config FILE]``: the daemon, in the foreground."""

from __future__ import annotations

from trapd import asyncio_without_ssl  # noqa: F401  first: see there
from trapd.sizes import counted

# isort: split

import argparse
import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from trapd import __version__, journald
from trapd.control.server import make_folder
from trapd.daemon import serve
from trapd.errors import SettingsError, TrapdError
from trapd.first_process import go_on_in_a_child, in_container
from trapd.heap import one_heap
from trapd.layout import SYSTEMD_BOOTED, Runtime, State
from trapd.masking import mask
from trapd.settings import find, load
from trapd.units import current, running

EX_CONFIG = 78


def main(argv: list[str] | None = None) -> int:
    """Run trapd and return the exit status: 0 stopped as asked, 1 cannot run, 78 the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="trapd", description="Keep Celery workers running, current and safe.")
    parser.add_argument(
        "--config", metavar="FILE", help="read this trapd.toml; else TRAPD_CONFIG, else /etc/trapd/trapd.toml"
    )
    parser.add_argument(
        "--check", action="store_true", help="only read the configuration; exit status 0: sound, 78: cannot be used"
    )
    parser.add_argument("--version", action="version", version=f"trapd {__version__}")
    options = parser.parse_args(argv)
    contained = in_container(SYSTEMD_BOOTED)
    if (ended := go_on_in_a_child()) is not None:
        return ended
    one_heap()
    journald.set_up()
    try:
        settings = load(find(options.config, os.environ))
        if options.check:
            return 0
        with only_one(settings.state_directory, settings.runtime_directory):
            asyncio.run(serve(settings, contained=contained))
    except SettingsError as error:
        print(f"trapd: {mask(str(error))}", file=sys.stderr)
        if not options.check and (workers := running.workers()):
            print(
                f"trapd: {counted(workers, 'worker runs', 'workers run')} on; correct the file, then start trapd again",
                file=sys.stderr,
            )
        return EX_CONFIG
    except TrapdError as error:
        print(f"trapd: {mask(str(error))}", file=sys.stderr)
        for gap in current.gaps(settings):
            print(f"trapd: {gap}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def only_one(state_directory: Path, runtime_directory: Path) -> Iterator[None]:
    """Hold both for this process, before anything in them is touched. Raises TrapdError if another trapd has one."""
    with contextlib.ExitStack() as held:
        try:
            state_directory.mkdir(parents=True, exist_ok=True)
            held.enter_context(_locked(State(state_directory).lock))
            make_folder(runtime_directory)
            held.enter_context(_locked(Runtime(runtime_directory).lock))
        except OSError as error:
            raise TrapdError(f"cannot use {error.filename}: {error.strerror}; see [trapd] in trapd.toml") from error
        yield


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TrapdError(f"cannot start: another trapd uses {file.parent}; stop it, or set another") from None
    else:
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
