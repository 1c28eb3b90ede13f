"""``python -P -m trapd.worker POOL GENERATION-SLOT --generation DIRECTORY --runtime DIRECTORY``"""

from __future__ import annotations

import sys

from trapd.worker.entry import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
