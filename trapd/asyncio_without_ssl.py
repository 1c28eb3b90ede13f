"""Import this before asyncio, and asyncio comes without TLS: 2 MB less in a process that runs for months.

asyncio imports ``ssl`` where there is one, and does without where there is none. trapd itself speaks only to sockets of
this machine. Whoever imports ``ssl`` later gets it; asyncio then still has no TLS. Only the daemon itself imports
this: not its workers, and not what runs code of the application.
"""

from __future__ import annotations

import importlib
import sys

if not {"asyncio", "ssl"} & sys.modules.keys():
    sys.modules["ssl"] = None  # type: ignore[assignment]  # documented: the import raises ModuleNotFoundError
    try:
        importlib.import_module("asyncio")
    finally:
        del sys.modules["ssl"]
