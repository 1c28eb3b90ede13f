"""Whether what systemd has loaded is of these settings."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from trapd.settings import Settings, load
from trapd.units.current import gaps
from trapd.units.generator import write
from trapd.units.render import render

BASE = "[Service]\nExecStart=/opt/trapd/bin/trapd-worker @pool@ %i\nEnvironment=STATE=@state_directory@\n"


class Place:
    """A trapd.toml, the base template, and what the generator made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.base = folder, folder / "trapd.toml", folder / "base.in"
        self.generated = folder / "generator"
        self.base.write_text(BASE)
        self.settings("")
        self.daemon_reload()

    def settings(self, trapd: str, more: str = "") -> Settings:
        self.file.write_text(f'[trapd]\nbackend = "systemd"\n{trapd}\n[pools.default]\n{more}')
        return load(self.file)

    def daemon_reload(self) -> None:
        write(render(load(self.file), self.base.read_text(), {}).files, self.generated)

    def gaps(self) -> list[str]:
        found = gaps(load(self.file), generated=self.generated, bases=(Path("/none"), self.base), file=self.file)
        return [str(gap) for gap in found]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.getpwuid(os.geteuid()))
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.getgrgid(os.getegid()))
    return Place(tmp_path)


def test_nothing_is_to_be_done_where_the_units_are_of_these_settings(place: Place) -> None:
    assert place.gaps() == []
    place.settings("", "workers = 3")
    assert place.gaps() == [], "which is nothing that a unit has to know"


def test_a_new_state_directory_needs_a_daemon_reload_and_its_folders(place: Place) -> None:
    state = place.folder / "state"
    place.settings(f'state_directory = "{state}"')
    unread, *folders = place.gaps()
    assert unread == (
        f"systemd has not read {place.file} as it is now: trapd-worker-default@.service,"
        " trapd.service.d/50-directories.conf; run `systemctl daemon-reload`, then `systemctl restart trapd`"
    )
    assert folders == [
        f"{state} is not there; run `install -d -m 0711 -o trapd -g trapd {state}`",
        f"{state}/generations is not there; run `install -d -m 2750 -o trapd -g trapd-worker {state}/generations`",
    ]
    place.daemon_reload()
    (state / "generations").mkdir(parents=True)
    assert place.gaps() == []


def test_a_folder_of_somebody_else_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = place.folder / "run"
    runtime.mkdir()
    place.settings(f'runtime_directory = "{runtime}"')
    place.daemon_reload()
    assert place.gaps() == []
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 4711, 4711, "", "/", "/bin/false")))
    (gap,) = place.gaps()
    assert gap == f"{runtime} does not belong to user trapd; run `chown trapd:trapd {runtime}`"


def test_a_folder_that_workers_cannot_read_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    state = place.folder / "state"
    (state / "generations").mkdir(parents=True)
    place.settings(f'state_directory = "{state}"')
    place.daemon_reload()
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", 4711, [])))
    (gap,) = place.gaps()
    command = f"chown --recursive trapd:trapd-worker {state}/generations"
    assert gap == f"{state}/generations does not belong to group trapd-worker; run `{command}`"


def test_without_units_the_remedy_is_to_install_them(place: Place) -> None:
    place.base.unlink()
    assert place.gaps() == ["trapd's units are not installed; run `trapctl install`"]


def test_of_another_trapd_toml_and_of_the_embedded_backend_nothing_is_said(place: Place) -> None:
    settings = place.settings('state_directory = "/nowhere"')
    options = {"generated": place.generated, "bases": (place.base,)}
    assert gaps(settings, **options) == []  # type: ignore[arg-type]
    assert gaps(replace(settings, backend="embedded"), file=place.file, **options) == []  # type: ignore[arg-type]
