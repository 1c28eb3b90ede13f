"""Installers that run now, and for which environment. Between two packages of one run nothing else tells of them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from trapd.locks import holders

_CHANGES = frozenset({"install", "uninstall", "upgrade", "update", "remove"})
# What each is told when it changes an environment. `uv run` stays for as long as the program that it runs.
_VERBS: Mapping[str, frozenset[str]] = {
    "uv": frozenset({"install", "uninstall", "sync", "add", "remove", "upgrade"}),
    "poetry": frozenset({"install", "add", "update", "remove", "sync"}),
    "conda": _CHANGES | {"create", "env"},
    "dnf": _CHANGES | {"reinstall", "downgrade", "erase", "autoremove", "distro-sync"},
}
_NAMES = {
    **{name: name for name in _VERBS},
    **dict.fromkeys(("mamba", "micromamba"), "conda"),
    **dict.fromkeys(("dnf5", "dnf-3", "microdnf", "yum"), "dnf"),
}
_RUNS = frozenset({"run", "exec", "shell"})  # what follows is somebody else's command
_VARIABLES = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "CONDA_PREFIX")


@dataclass(frozen=True, slots=True)
class Installer:
    """A process that is at work."""

    pid: int
    why: str  # it is taken for one, in a sentence


def at_work(prefix: str, proc: Path, *, of_system: bool) -> Iterator[Installer]:
    """Yield each installer that works on the environment at ``prefix``.

    ``of_system``: the environment has folders that the system's package manager fills.
    """
    if not prefix:
        return
    # uv locks the environment for as long as it changes it, whatever its command line says
    for pid in holders([Path(prefix) / ".lock"], proc):
        yield Installer(int(pid), f"uv is at work (process {pid} holds {prefix}/.lock)")
    for folder in proc.glob("[0-9]*"):
        words = _words(folder / "cmdline")
        if tool := _tool(words):
            if of_system if tool == "dnf" else _works_on(prefix, tool, folder, words):
                yield Installer(int(folder.name), f"{tool} is running (process {folder.name})")
        elif _is_pip(words) and any(_belongs(word, prefix) for word in [*words[:2], *_activated(folder, words)]):
            yield Installer(int(folder.name), f"pip is running (process {folder.name})")


def _is_pip(words: Sequence[str]) -> bool:
    script = _file(words[1]) if words[1:] else ""  # the second is what `pip --python` runs in the other environment
    called = "\0-m\0pip\0" in "\0".join(words[:6]) or script.startswith(("pip", "__pip-runner__"))
    return called and bool({"install", "uninstall"} & set(words[2:8]))


def _tool(words: Sequence[str]) -> str:
    """Which installer this is, if it was told to change an environment: a program, a script, or ``python -m``."""
    for place, word in enumerate(words[:6]):
        name = word if place and words[place - 1] == "-m" else _file(word) if place < 2 or "/" in word else ""
        if tool := _NAMES.get(name):
            for following in words[place + 1 : place + 9]:
                if following in _RUNS:
                    return ""
                if following in _VERBS[tool]:
                    return tool
            return ""
    return ""


def _file(word: str) -> str:
    """Its name. Not by pathlib, which interns the words of every process on the machine."""
    return word.rstrip("/").rpartition("/")[2]


def _works_on(prefix: str, tool: str, process: Path, words: Sequence[str]) -> bool:
    """By what its command line names, its variables and its folder say, as far as trapd may read them."""
    real = os.path.realpath(prefix)
    named = [value for word in words for value in (word, word.partition("=")[2]) if value.startswith("/")]
    if any(real in (os.path.realpath(path), _environment(path)) for path in named):
        return True
    if tool == "conda":
        for option, value in pairwise(words):
            if option in ("-n", "--name"):
                return Path(real).parent.name == "envs" and Path(real).name == value
    variables = dict(word.partition("=")[::2] for word in _words(process / "environ"))
    if real in {os.path.realpath(variables[name]) for name in _VARIABLES if variables.get(name)}:
        return True
    try:
        here = (process / "cwd").readlink()
    except OSError:
        return False
    if tool == "poetry" and Path(real).name.rpartition("-py")[0].endswith(f"-{_poetrys_mark(here)}"):
        return True
    return tool != "conda" and any(real == os.path.realpath(folder / ".venv") for folder in (here, *here.parents))


def _poetrys_mark(project: Path) -> str:
    """What Poetry puts into the name of the environment of a project in this folder."""
    digest = hashlib.sha256(os.path.normcase(os.path.realpath(project)).encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:8]


def _environment(program: str) -> str:
    """The environment that a program in its ``bin`` belongs to; the program itself may be a link."""
    folder = Path(program).parent
    return os.path.realpath(folder.parent) if folder.name == "bin" else ""


def _activated(process: Path, words: Sequence[str]) -> Iterator[str]:
    """``python -m pip`` names no folder: its virtual environment does, if we may read that process's environment."""
    if words[0] and "/" not in words[0]:
        for word in _words(process / "environ"):
            name, _, value = word.partition("=")
            if name == "VIRTUAL_ENV":
                yield f"{value}/bin/{words[0]}"


def _belongs(program: str, prefix: str) -> bool:
    path = Path(program)
    return path.is_absolute() and path.parent.parent.resolve() == Path(prefix).resolve()


def _words(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        text = ""
    return "\0".join(text.splitlines()).split("\0")
