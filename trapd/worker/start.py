"""The program that a worker is: ``python -P GENERATION/runtime/trapd/worker/start.py POOL GENERATION-SLOT ...``

A script and not a module, and the import path is set here and not by PYTHONPATH: what a task starts in its turn
(``subprocess.run([sys.executable, ...])``) does not get trapd's part. It sees the generation's own environment, which
this interpreter is in, if there is one; else what is installed.
Imports nothing from elsewhere before this runtime folder is the first that it imports from. Standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """The worker's exit status."""
    runtime = str(Path(__file__).parents[2])
    sys.path[:] = [runtime, *(entry for entry in sys.path if entry != runtime)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "trapd"]:
        del sys.modules[name]  # of a start-up file, or of one that lies elsewhere
    from trapd.worker import entry

    return entry.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
