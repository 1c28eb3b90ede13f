"""Which virtual environment a generation gets a copy of, told by what the application's interpreter says of itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from trapd.content import Environment
from trapd.watch.distributions import Distribution, Kind
from trapd.watch.interpreter import Answer

AUTO = "auto"
CONFIGURATION = "pyvenv.cfg"
NO_ENVIRONMENT = (
    "cannot copy the environment of {python}: it is not the interpreter of a virtual environment; correct [app] "
    'python, or set [watch] snapshot = "distributions"'
)


def describe(answer: Answer, python: Path, found: Iterable[Distribution]) -> Environment | None:
    """The environment; None where ``python`` is no interpreter of a virtual environment.

    A script that starts an interpreter under another name is none either: what the script sets would be lost.
    ``found``: the distributions that are copied from where they are, not from the environment.
    """
    if not answer.executable or answer.prefix == answer.base_prefix:
        return None
    prefix, executable = Path(os.path.realpath(answer.prefix)), _in_real_folder(Path(answer.executable))
    if executable != _in_real_folder(python) or executable.parent != prefix / "bin":
        return None
    if not (prefix / CONFIGURATION).is_file():
        return None
    hooks = frozenset(hook for distribution in found for hook in _hooks(distribution))
    return Environment(str(prefix), executable.name, _sites(prefix, answer.libraries), hooks)


def _in_real_folder(path: Path) -> Path:
    """An interpreter's own link, which leads out of its environment, is not followed."""
    return Path(os.path.realpath(path.parent), path.name)


def _sites(prefix: Path, libraries: Iterable[str]) -> dict[str, str]:
    """purelib and platlib are mostly one folder, under two names where ``lib64`` is a link."""
    sites: dict[str, str] = {}
    for library in map(Path, libraries):
        real = Path(os.path.realpath(library))
        place = real if real.is_relative_to(prefix) else _in_real_folder(library)
        if place.is_relative_to(prefix) and str(real) not in sites.values():
            sites[str(place.relative_to(prefix))] = str(real)
    return sites


def _hooks(distribution: Distribution) -> Iterator[str]:
    """What an installer wrote beside the metadata of an editable install, so that its sources are found: a path file,
    or one that starts a finder, and the finder. All of them are in RECORD; links are not."""
    if distribution.kind is Kind.EDITABLE and distribution.has_code:
        own = {file.path for file in distribution.files}
        for line in distribution.record:
            path = PurePosixPath(line.path)
            if len(path.parts) == 1 and path.suffix in (".pth", ".py") and line.path not in own:
                yield str(distribution.site.path / path)
