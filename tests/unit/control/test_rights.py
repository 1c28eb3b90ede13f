"""Who may change anything, by credentials that only the kernel can give."""

from __future__ import annotations

import os
import socket

import pytest

from trapd.control.commands import Caller
from trapd.control.rights import Rights, groups_of, user_name
from trapd.peer import Peer, peer_of

TRAPD, SUBMITTERS, USERS = 900, 901, 100


def rights(group: int | None = TRAPD) -> Rights:
    return Rights(
        own_uid=999,
        user_name={0: "root", 999: "trapd", 1001: "alice", 1002: "bob", 1003: "carol"}.get,
        group_number=lambda name: {"trapd": group, "trapd-submit": SUBMITTERS}[name],
        groups_of=lambda uid: {1001: [USERS, TRAPD], 1002: [USERS], 1003: [USERS, SUBMITTERS]}.get(uid, []),
    )


@pytest.mark.parametrize(
    ("peer", "admin", "actor"),
    [
        (Peer(1, 0, 0), True, "root"),
        (Peer(1, 999, 999), True, "trapd (uid 999)"),
        (Peer(1, 1001, USERS), True, "alice (uid 1001)"),
        (Peer(1, 1002, TRAPD), True, "bob (uid 1002)"),
        (Peer(1, 1002, USERS), False, "bob (uid 1002)"),
        (Peer(1, 4711, 4711), False, "uid 4711"),
    ],
    ids=["root", "trapd itself", "supplementary member", "primary member", "another user", "nobody knows"],
)
def test_root_trapd_and_members_of_its_group_may_all_and_others_look(peer: Peer, admin: bool, actor: str) -> None:
    caller = rights().caller(peer)
    assert (caller.admin, caller.actor) == (admin, actor)


def test_members_of_trapd_submit_hold_code_for_their_runs_and_change_nothing_else() -> None:
    known = rights()
    assert known.caller(Peer(1, 1003, USERS)) == Caller("carol (uid 1003)", admin=False, submits=True)
    assert known.caller(Peer(1, 1002, SUBMITTERS)) == Caller("bob (uid 1002)", admin=False, submits=True)
    assert known.caller(Peer(1, 1001, USERS)).submits  # who may all, may this
    assert not known.caller(Peer(1, 1002, USERS)).submits


def test_where_there_is_no_group_trapd_nobody_is_a_member_of_it() -> None:
    assert not rights(group=None).caller(Peer(1, 1001, USERS)).admin
    assert rights(group=None).caller(Peer(1, 0, 0)).admin


def test_the_kernel_says_who_connected() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert peer_of(here) == Peer(os.getpid(), os.getuid(), os.getgid())


def test_an_unknown_user_has_no_name_and_no_groups() -> None:
    assert user_name(2**31 - 2) is None
    assert list(groups_of(2**31 - 2)) == []


def test_a_known_user_has_the_groups_of_the_systems_databases() -> None:
    assert user_name(0) == "root"
    assert 0 in groups_of(0)
