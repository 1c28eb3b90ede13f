"""Links what a generation has in one folder into another place, file by file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from trapd.generations.store import NO_LINK
from trapd.generations.table import Entry


def link_files(generation: Path, target: Path, place: str, entries: Iterable[Entry]) -> list[Entry]:
    """Link these files of one folder into the same folder of ``target``, which is there. Raises OSError.

    Returns those that are missing in the generation, have another size there, or cannot be linked.
    """
    lacking = list[Entry]()
    old, new = (os.open(f"{top}/{place}", os.O_RDONLY | os.O_DIRECTORY) for top in (generation, target))
    try:
        for entry in entries:
            name = entry.path[len(place) + 1 :]
            try:
                if os.stat(name, dir_fd=old, follow_symlinks=False).st_size == entry.size:
                    os.link(name, name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
                    continue
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in NO_LINK:
                    raise
            lacking.append(entry)
    finally:
        os.close(old)
        os.close(new)
    return lacking
