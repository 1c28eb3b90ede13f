"""What lies under the watched folders: file systems that report no changes of other machines, and mounts that cover
one folder with another, of which inotify reports nothing either."""

from __future__ import annotations

import select
from collections.abc import Collection, Iterable
from pathlib import Path

from trapd.mount_table import Mount, by_place, nearest
from trapd.watch.places import Places

# By the type that proc(5)'s mountinfo names. Not overlay: what a container changes through its overlay is reported.
_SILENT = frozenset(
    (
        *("9p", "cifs", "fuse", "fuseblk", "nfs", "nfs4", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"),
        *("afs", "beegfs", "ceph", "coda", "gpfs", "lustre"),
    )
)


def under(places: Places, mounts: Collection[Mount]) -> frozenset[Mount]:
    """The mounts that these places lie on, and those that cover something in them."""
    found, seen = set[Mount](), by_place(mounts)
    whole = {*places.trees, *(folder for folder, names in places.folders.items() if names is None)}
    for path in {*places.trees, *places.folders}:
        if (mount := nearest(path, seen)) is not None:
            found.add(mount)
    return frozenset(found | {m for m in mounts if not whole.isdisjoint((m.place, *m.place.parents))})


def is_silent(mount: Mount) -> bool:
    """Whether nobody reports what other machines, or the program behind it, change there."""
    return mount.kind in _SILENT or mount.kind.startswith("fuse.")


def silent(mounts: Iterable[Mount]) -> str:
    """The first of them on which changes may go unreported, for people; empty if there is none."""
    found = sorted((str(mount.place), mount.kind) for mount in mounts if is_silent(mount))
    return f"{found[0][0]} is on {found[0][1]}" if found else ""


class MountEvents:
    """Readable, as a file descriptor, when a mount changed; waiting costs nothing. Raises OSError where there is no
    such table."""

    def __init__(self, table: Path = Path("/proc/self/mountinfo")) -> None:
        self._table = table.open("rb")
        # proc(5): POLLPRI and POLLERR. The table itself is always readable, so a loop must not wait for that.
        self._epoll = select.epoll()
        self._epoll.register(self._table, select.EPOLLPRI | select.EPOLLERR)
        self.clear()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def clear(self) -> None:
        self._epoll.poll(0)

    def close(self) -> None:
        self._epoll.close()
        self._table.close()
