"""``trapd [--config FILE]``: the daemon, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from trapd import __version__, journald
from trapd.daemon import only_one, serve
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
        print(f"trapd: {error}", file=sys.stderr)
        return EX_CONFIG
    except TrapdError as error:
        print(f"trapd: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
