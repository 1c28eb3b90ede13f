"""What to type when nobody answers: the words of the backend in force, and of a trapd that runs without its socket."""

from __future__ import annotations

import ast
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import trapd
from trapd.ctl import absent
from trapd.ctl.client import Client, UnreachableError
from trapd.settings import Settings, load

PACKAGE = Path(trapd.__file__).parent
# Where the backend is known to be systemd, or where both are named side by side.
SYSTEMDS_OWN = {
    *("ctl/absent.py", "ctl/install.py", "ctl/logs.py", "ctl/obstacles.py", "ctl/verbs/logs.py"),
    *(
        "ctl/rules_notify.py",
        "ctl/rules_units.py",
        "units/current.py",
        "worker/launch.py",
    ),  # where systemd runs the workers, and not elsewhere
    *("units/generator.py", "units/running.py", "units/render.py", "units/directives.py"),
}


def settings(folder: Path, backend: str) -> Settings:
    file = folder / "trapd.toml"
    file.write_text(
        f'[trapd]\nbackend = "{backend}"\nstate_directory = "."\nruntime_directory = "."\n[app]\napp = "a"\n'
    )
    return load(file)


def complaint(folder: Path, backend: str) -> UnreachableError:
    with pytest.raises(UnreachableError) as raised, Client(folder / "absent", absent.hints(settings(folder, backend))):
        pass
    return raised.value


def test_where_trapd_does_not_run_the_command_that_starts_it_is_named(tmp_path: Path) -> None:
    assert str(complaint(tmp_path, "embedded")).endswith(
        f"no such socket; start it with trapd --config {tmp_path}/trapd.toml"
    )
    assert str(complaint(tmp_path, "systemd")).endswith("no such socket; start it with systemctl start trapd")
    assert complaint(tmp_path, "embedded").absent


def test_a_trapd_that_runs_without_its_socket_is_named_with_what_brings_it_back(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ours = complaint(tmp_path, "embedded")
        assert f"trapd runs (pid {os.getpid()})" in str(ours)
        assert str(ours).endswith(f"try again, then kill -HUP {os.getpid()}")
        assert not ours.absent  # a script that asks must not start a second one
        assert str(complaint(tmp_path, "systemd")).endswith("systemctl reload trapd")


def test_no_command_of_systemd_is_named_where_the_backend_is_not_known() -> None:
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if any("systemctl" in text or "journalctl" in text for text in strings(file))
    }
    assert {name for name in found if not name.startswith("backend/systemd/")} - SYSTEMDS_OWN == set()


def strings(file: Path) -> Iterator[str]:
    """The texts in a module that are no docstrings."""
    tree = ast.parse(file.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value
