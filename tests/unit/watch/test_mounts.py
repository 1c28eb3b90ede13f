"""Mounts: which file systems report no changes, and which mounts are under what is watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from trapd.mount_table import read
from trapd.watch.mounts import MountEvents, silent, under
from trapd.watch.places import Places

TABLE = r"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
40 27 0:40 / /srv/app\040one rw - nfs4 server:/app rw
41 40 254:0 /opt /srv/app\040one/site-packages/trap rw - ext4 /dev/vda rw
42 27 0:42 / /opt/trap rw - overlay overlay rw
43 27 0:43 / /home rw - fuse.sshfs x rw
nonsense
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "mountinfo").write_text(TABLE)
    return tmp_path / "mountinfo"


def places(*trees: str, folders: tuple[str, ...] = ()) -> Places:
    return Places({Path(top): frozenset() for top in trees}, {Path(folder): None for folder in folders})


@pytest.mark.parametrize(
    ("top", "expected", "says"),
    [
        ("/usr/lib/python3", {"/"}, ""),
        ("/opt/trap/lib", {"/opt/trap"}, ""),
        ("/home/me/tree", {"/home"}, "/home is on fuse.sshfs"),
        (
            "/srv/app one/site-packages",
            {"/srv/app one", "/srv/app one/site-packages/trap"},
            "/srv/app one is on nfs4",
        ),
    ],
)
def test_the_mounts_under_a_place(table: Path, top: str, expected: set[str], says: str) -> None:
    found = under(places(folders=(top,)), read(table))
    assert {str(mount.place) for mount in found} == expected
    assert silent(found) == says
    assert under(places(top), read(table)) == found


def test_another_mount_at_the_same_place_is_another(table: Path) -> None:
    before = under(places("/opt/trap"), read(table))
    table.write_text(f"{TABLE}50 27 254:0 /other /opt/trap rw - ext4 /dev/vda rw\n")
    assert under(places("/opt/trap"), read(table)) != before, "it covers the one before"


def test_where_there_is_no_table_nothing_is_known(tmp_path: Path) -> None:
    assert read(tmp_path / "nothing") == []
    assert under(places("/opt"), []) == frozenset()
    with pytest.raises(FileNotFoundError):
        MountEvents(tmp_path / "nothing")


def test_mounts_that_do_not_change_wake_nobody() -> None:
    import select

    events = MountEvents()
    assert select.select([events], [], [], 0.05)[0] == []
    events.close()
