"""Where the tests' machines of another Debian come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import release
from tests.support.release import ReleaseError, archive

DEB822 = "Types: deb\nURIs: http://mirror.example/debian-security\n\nTypes: deb\nURIs: http://mirror.example/debian/\n"
ONE_LINE = (
    "# deb http://old.example/debian bookworm main\ndeb [arch=amd64] http://mirror.example/debian bookworm main\n"
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sources.list.d/debian.sources", DEB822, "http://mirror.example/debian/"),
        ("sources.list", ONE_LINE, "http://mirror.example/debian"),
    ],
    ids=["deb822", "one line"],
)
def test_the_archive_is_the_one_that_apt_has(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert archive(tmp_path) == expected


def test_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror.example/ubuntu jammy main\n")
    with pytest.raises(ReleaseError, match="cannot find Debian's archive"):
        archive(tmp_path)


def test_an_archive_that_is_not_reached_is_named_with_what_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mmdebstrap"
    program.write_text("#!/bin/sh\necho 'E: apt-get update failed' >&2\nexit 25\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(release, "RELEASE", "trixie")
    monkeypatch.setattr(release, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(release, "archive", lambda: "http://mirror.example/debian")
    with pytest.raises(ReleaseError, match=r"from http://mirror\.example/debian; look whether(.|\n)*update failed"):
        release.root()
    assert not list((tmp_path / "kept").glob("trixie*")), "the next session tries again"


def test_on_the_debian_that_is_here_nothing_is_made_and_nothing_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "RELEASE", "")
    assert release.root() == Path("/")
    assert release.command("python3", "--version", shared=[Path("/srv")]) == ["python3", "--version"]
