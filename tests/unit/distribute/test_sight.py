"""Why a worker cannot read a file, in words for a submitter, who sees other files than the worker."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trapd import mount_table
from trapd.distribute import sight
from trapd.mount_table import Mount

# Of a worker's unit with ProtectHome=yes and PrivateTmp=yes under systemd 252.
SANDBOX = """\
812 700 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 rw
813 812 0:24 / /run rw,nosuid - tmpfs tmpfs rw,mode=755
820 812 0:24 /systemd/inaccessible/dir /home ro,nosuid - tmpfs tmpfs rw,mode=755
821 812 0:24 /systemd/inaccessible/dir /root ro,nosuid - tmpfs tmpfs rw,mode=755
822 813 0:24 /systemd/inaccessible/dir /run/dbus ro,nosuid - tmpfs tmpfs rw,mode=755
823 812 8:1 /tmp/systemd-private-3f-trapd-worker-default@1-1.service-x9/tmp /tmp rw,relatime - ext4 /dev/sda1 rw
824 812 8:2 / /data rw,relatime - ext4 /dev/sdb1 rw
"""
NO_FILE, DENIED = (type(error)(number, os.strerror(number)) for error, number in (
    (FileNotFoundError(), errno.ENOENT), (PermissionError(), errno.EACCES),
))  # fmt: skip


def mounts(tmp_path: Path, table: str) -> list[Mount]:
    (tmp_path / "mountinfo").write_text(table)
    return mount_table.read(tmp_path / "mountinfo")


@pytest.fixture
def _sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = mounts(tmp_path, SANDBOX)
    monkeypatch.setattr(mount_table, "read", lambda: seen)
    monkeypatch.setattr(sight, "_user", lambda: "trapd-worker")


@pytest.mark.parametrize(("path", "error"), [("/home/ann/a.fits", DENIED), ("/tmp/none/a.fits", NO_FILE)])
@pytest.mark.usefixtures("_sandbox")
def test_a_path_that_is_hidden_from_workers_is_said_to_be_so(path: str, error: OSError) -> None:
    assert sight.reason(path, error) == (
        "/home, /root and /tmp are hidden from workers, which run as user trapd-worker; "
        "move the file to a folder that workers can read"
    )


@pytest.mark.usefixtures("_sandbox")
def test_a_link_to_a_hidden_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/home/ann")
    assert sight.reason(str(tmp_path / "data/a.fits"), DENIED).startswith("/home, /root and /tmp are hidden")


@pytest.mark.usefixtures("_sandbox")
def test_any_other_file_that_is_missing_or_closed_keeps_its_own_reason() -> None:
    assert sight.reason("/data/a.fits", NO_FILE) == "No such file or directory"
    assert sight.reason("/data/a.fits", DENIED) == (
        "Permission denied; workers run as user trapd-worker, let this user read the file and enter its folders"
    )
    assert sight.reason("/home/ann/a.fits", OSError("the file is empty")) == "the file is empty"


def test_where_no_unit_hides_anything_nothing_is_said_to_be_hidden(tmp_path: Path) -> None:
    plain = (
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:9 / /tmp rw - tmpfs tmpfs rw\n22 20 8:3 / /home rw - xfs x rw\n"
    )
    assert sight.hidden(mounts(tmp_path, plain)) == []
    assert sight.hidden(mounts(tmp_path, plain + "23 20 0:31 / /home ro - tmpfs tmpfs rw\n")) == [Path("/home")]
    on_top = "25 20 8:3 /home /home rw - ext4 /dev/sda1 rw\n"  # BindPaths=/home, mounted later
    assert sight.hidden(mounts(tmp_path, SANDBOX + on_top))[0] == Path("/root")
