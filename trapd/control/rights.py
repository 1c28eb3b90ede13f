"""Who is at the other end of the socket, and may they change anything? The kernel says; nobody can pretend.

Looking up names may ask a directory server, and so block: call ``Rights.caller`` in a thread.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Collection
from dataclasses import dataclass

from trapd.control.commands import Caller
from trapd.peer import Peer

GROUP, SUBMITTERS = "trapd", "trapd-submit"


def user_name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of a container, or one that was deleted
        return None


def group_number(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def groups_of(uid: int) -> Collection[int]:
    """Primary and supplementary groups, as the system's databases have them now."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return ()
    return os.getgrouplist(user.pw_name, user.pw_gid)


@dataclass(frozen=True, slots=True)
class Rights:
    """root, trapd's own user and the members of group ``trapd`` may all; those of group ``trapd-submit`` may hold code
    for their runs; everybody else may look."""

    own_uid: int
    group: str = GROUP
    submitters: str = SUBMITTERS
    user_name: Callable[[int], str | None] = user_name
    group_number: Callable[[str], int | None] = group_number
    groups_of: Callable[[int], Collection[int]] = groups_of

    def caller(self, peer: Peer) -> Caller:
        """May block."""
        name = self.user_name(peer.uid)
        actor = f"{name} (uid {peer.uid})" if name and peer.uid != 0 else name or f"uid {peer.uid}"
        admin = peer.uid in (0, self.own_uid) or self._is_member(peer, self.group)
        return Caller(actor, admin, submits=admin or self._is_member(peer, self.submitters))

    def _is_member(self, peer: Peer, group: str) -> bool:
        number = self.group_number(group)
        return number is not None and (peer.gid == number or number in self.groups_of(peer.uid))
