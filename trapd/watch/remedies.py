"""How an installation that is not whole is made whole: commands that were tried with pip 23.2 and 26, and uv.

``pip install trap`` changes nothing while a dist-info is there ("Requirement already satisfied"), and without a RECORD
``--force-reinstall`` is refused ("Cannot uninstall trap, RECORD file not found").
"""

from __future__ import annotations

import os
import re

from trapd.access import name_of_user


def again(name: str, installer: str) -> str:
    """The remedy where a RECORD says what was installed. ``installer`` as INSTALLER names it."""
    match (installer.lower().split() or [""])[0]:
        case "uv":
            return f"run uv pip install --reinstall --no-deps {name}"
        case "conda":
            return f"run conda install --force-reinstall {name}"
        case _:
            return f"run pip install --force-reinstall --no-deps {name}"


def anew(name: str, metadata: str, installer: str) -> str:
    """The remedy where there is no RECORD. Another version would leave two: pip then does not know of the first."""
    version = re.search(r"-([^-]+)\.dist-info$", metadata)
    wanted = f"{name}=={version[1]}" if version else name
    if installer.lower().startswith("uv"):
        return f"run uv pip install --reinstall --no-deps {wanted}"
    return f"run pip install --ignore-installed --no-deps {wanted}"


def readable() -> str:
    """The remedy where trapd has no right to read what it has to copy."""
    return f"let user {name_of_user(os.geteuid())} read it"
