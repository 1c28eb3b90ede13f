"""Run a module as a program, with the service's application loaded and configured: ``... trapd.worker.as_service MODULE
ARGUMENTS...``. The environment says which application: see trapd/worker/configured.py.
"""

from __future__ import annotations

import os
import runpy
import sys

from trapd.worker import configured


def main() -> None:
    configured.load(os.environ)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
