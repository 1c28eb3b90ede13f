"""Code on a pool's PYTHONPATH that Python would import, and that workers do not run: what is watched comes first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trapd.folders import join
from trapd.watch.distributions import Distribution
from trapd.watch.projects import has_init, is_in_metadata, is_namespace

_MODULES = (".py", ".pyc", ".so")
_SHOWN = 3  # modules in one sentence
NO_PATHS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Shadow:
    """``modules`` are watched as ``distribution``, which is in ``site``. There are such in ``folder`` too, which the
    settings ``where`` have on PYTHONPATH."""

    modules: tuple[str, ...]
    distribution: str
    site: str
    folder: str
    where: tuple[str, ...]

    @property
    def what(self) -> str:
        more = ", ..." if self.modules[_SHOWN:] else ""
        return f"workers do not run {', '.join(self.modules[:_SHOWN])}{more} in {self.folder}"

    @property
    def reason(self) -> str:
        why = f"they run {self.distribution} in {self.site}, since what is watched goes before PYTHONPATH"
        return f"{why}, on which {' and '.join(self.where)} {'have' if self.where[1:] else 'has'} that folder"

    @property
    def remedy(self) -> str:
        return f"take the folder off PYTHONPATH, or remove {self.distribution} from {self.site} to run what is there"

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}; {self.remedy}"


def shadows(found: Iterable[Distribution], paths: Mapping[str, str]) -> tuple[Shadow, ...]:
    """``paths``: setting -> PYTHONPATH. Raises OSError if something vanishes."""
    where: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for distribution in found:
        site = distribution.site.path
        before = [(setting, folder) for setting, path in paths.items() for folder in _before(site, path)]
        sources = dict(_modules(distribution)) if before else {}
        for setting, folder in before:
            same = {module for module, source in sources.items() if _goes_before(folder, module, source)}
            if same:
                where.setdefault((distribution.name, str(site), folder, tuple(sorted(same))), []).append(setting)
    return tuple(
        Shadow(tuple(module.replace("/", ".") for module in modules), name, site, folder, tuple(settings))
        for (name, site, folder, modules), settings in where.items()
    )


def _before(site: Path, path: str) -> Iterator[str]:
    """The folders of a PYTHONPATH that come before where a distribution is."""
    for folder in path.split(os.pathsep):
        if os.path.realpath(folder) == str(site):
            return
        if os.path.isabs(folder):  # noqa: PTH117
            yield folder


def _modules(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Its packages and modules, and where each is; of a namespace, which others may have a part of, what is in it."""
    folders = [folder for folder in distribution.files.folders if not is_in_metadata(folder, distribution.metadata)]
    places = {folder.path: folder.source for folder in folders if has_init(folder.all_names)}
    shared = cache(lambda path: is_namespace(Path(places[path])))
    for folder in folders:
        package = next((outer for outer in _outermost(folder.path) if outer in places and not shared(outer)), None)
        if package is not None:
            yield package, places[package]
            continue
        for name in folder.all_names:
            stem, dot, suffix = name.partition(".")
            if stem.isidentifier() and stem != "__init__" and (dot + suffix).endswith(_MODULES):
                yield join(folder.path, stem), os.path.join(folder.source, folder.called or name)  # noqa: PTH118


def _goes_before(folder: str, module: str, source: str) -> bool:
    """Whether Python takes this module, or a package around it, from ``folder``, and that is not the watched one."""
    for outer in _outermost(module):
        place = Path(folder, outer)
        files = [file for file in place.parent.glob(f"{place.name}.*") if file.suffix in _MODULES]
        if any(place.glob("__init__.*")) and not is_namespace(place):
            files.append(place)
        if files:
            return os.path.realpath(source) not in map(os.path.realpath, files)
    return False


def _outermost(path: str) -> Iterator[str]:
    parts = path.split("/") if path else []
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
