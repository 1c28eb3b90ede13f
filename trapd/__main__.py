"""``trapd [--config FILE]``: the daemon, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from trapd import __version__, journald
from trapd.control.masking import mask
from trapd.daemon import serve
from trapd.errors import SettingsError, TrapdError
from trapd.settings import find, load

EX_CONFIG = 78


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 stopped as asked, 1 cannot run, 78 the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="trapd", description="Keeps Celery workers running, current and safe.")
    parser.add_argument("--config", metavar="FILE", help="trapd.toml; else TRAPD_CONFIG, else /etc/trapd/trapd.toml")
    parser.add_argument("--version", action="version", version=f"trapd {__version__}")
    options = parser.parse_args(argv)
    journald.set_up()
    try:
        settings = load(find(options.config, os.environ))
        with only_one(settings.state_directory):
            asyncio.run(serve(settings))
    except SettingsError as error:
        print(f"trapd: {mask(str(error))}", file=sys.stderr)
        return EX_CONFIG
    except TrapdError as error:
        print(f"trapd: {mask(str(error))}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def only_one(state_directory: Path) -> Iterator[None]:
    """Hold the state directory for this process. Raises TrapdError if another trapd has it."""
    try:
        state_directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(state_directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TrapdError(f"cannot use the state directory {state_directory}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TrapdError(f"cannot start: another trapd uses {state_directory}; stop it, or set another") from None
    else:
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
