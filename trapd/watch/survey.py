"""One look: find the watched distributions, read them, judge whether they are whole. It blocks: run it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from trapd.model import Disk, DiskState, TreeFile
from trapd.watch.archives import holding
from trapd.watch.distributions import Distribution, locate
from trapd.watch.fingerprint import Hasher, fingerprint
from trapd.watch.installers import unfinished
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places, places
from trapd.watch.projects import placed
from trapd.watch.quiet import Finding, Verdict
from trapd.watch.sites import Site, closure, scan

_ALWAYS_REQUIRED = ("celery",)  # Trap's metadata does not name it, and no worker is without it
_ATTEMPTS = 5  # folders come and go while an installer works; what it does later, it is heard doing
Arm = Callable[[Places], bool]  # listen there from now on; whether anything is listened to anew


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look found. ``disk`` is what it would be if this is whole and stays as it is."""

    finding: Finding
    disk: Disk = field(default_factory=lambda: Disk(DiskState.SETTLED))
    found: Sequence[Distribution] = ()


@dataclass(frozen=True, slots=True)
class _Scene:
    """Everything that was located, before any of it is read."""

    sites: list[Site]
    found: list[Distribution]
    absent: list[str]


class Surveyor:
    """Takes looks, and remembers what it read so that the next is cheap."""

    def __init__(self, python: Path, celeryconfig: Path, distributions: Sequence[str]) -> None:
        self._python, self._celeryconfig, self._names = python, celeryconfig, tuple(distributions)
        self._hasher = Hasher()
        self._needed = set(distributions)  # they, and what they required when it was last known

    def look(self, answer: Answer, arm: Arm, *, wall: float, fresh: bool) -> Survey:
        """Take a look. ``fresh``: trust no file's times, read all. Never raises for what is, or vanishes, on disk."""
        try:
            scene = self._locate(answer, arm)
            self._hasher.begin(fresh=fresh)
            return self._read(scene, answer, wall)
        except FileNotFoundError as error:
            return Survey(Finding(Verdict.UNFINISHED, f"files are being replaced: {error.filename} vanished"))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return Survey(Finding(Verdict.BROKEN, f"cannot read {error.filename}: {why}"))

    def _locate(self, answer: Answer, arm: Arm) -> _Scene:
        """Listen first, look afterwards: what changes in between is then either seen or heard."""
        for _ in range(_ATTEMPTS):
            sites = scan(answer.paths)
            located = {name: locate(name, sites, answer.editable) for name in self._names}
            found = [distribution for distribution in located.values() if distribution]
            absent = [name for name, distribution in located.items() if not distribution]
            if not arm(places(self._python, self._celeryconfig, answer.paths, sites, found, absent)):
                break
        return _Scene(sites, found, absent)

    def _read(self, scene: _Scene, answer: Answer, wall: float) -> Survey:
        required = closure(scene.sites, (*self._names, *_ALWAYS_REQUIRED))
        self._needed |= required.keys()
        reason = unfinished(scene.found, scene.sites, self._needed, self._hasher, prefix=answer.prefix)
        if not scene.absent:
            self._needed = {*self._names, *required}
        wrong = answer.problem or self._incomplete(scene, answer)
        if not answer.identity or not answer.celeryconfig:
            disk = Disk(DiskState.SETTLED, versions=_versions(scene.found))
            return Survey(Finding(Verdict.BROKEN, wrong), disk, scene.found)

        files, roots, written = self._files(scene.found)
        config = self._hasher.stamp(str(self._celeryconfig))
        counted = [(file.path, file.digest) for file in files if file.digest]
        mark = fingerprint(counted, {**required, **_versions(scene.found)}, config.digest, answer.identity)
        age = wall - max([config.written, *written])
        if config.digest != answer.celeryconfig:
            reason = reason or f"{self._celeryconfig} changed while it was read"
        disk = Disk(
            DiskState.SETTLED,
            fingerprint=mark,
            versions=_versions(scene.found),
            files=(*files, TreeFile("etc/celeryconfig.py", str(self._celeryconfig), config.digest)),
            eager=answer.eager,
            roots=roots,
        )
        verdict = Verdict.UNFINISHED if reason else Verdict.BROKEN if wrong else Verdict.WHOLE
        # a clock that was set back makes files of the future: they say nothing
        return Survey(Finding(verdict, reason or wrong, mark, age if age >= 0 else float("inf")), disk, scene.found)

    def _files(self, found: Sequence[Distribution]) -> tuple[list[TreeFile], tuple[str, ...], list[float]]:
        """What to copy, the projects' folders among where it is imported from, and when each file was written."""
        files: dict[str, TreeFile] = {}
        roots: dict[str, None] = {}
        written = []
        for distribution in found:
            for root, file in (
                placed(distribution.files, distribution.metadata)
                if distribution.from_source
                else zip(repeat(""), distribution.files)
            ):
                if root:
                    roots[root] = None
                path = f"tree{root.rstrip('/')}/{file.path}" if root else f"code/{file.path}"
                digest = ""
                if file.counted:
                    stamp = self._hasher.stamp(file.source)
                    digest = stamp.digest
                    written.append(stamp.written)
                files.setdefault(path, TreeFile(path, file.source, digest))
        return [files[path] for path in sorted(files)], tuple(sorted(roots)), written

    def _incomplete(self, scene: _Scene, answer: Answer) -> str:
        for name in scene.absent:
            if archive := holding(name, answer.paths):
                why = f"{name} lies in the archive {archive}, and only files in folders can be copied and watched"
                return f"{why}; unpack it, or install it with pip"
        if scene.absent:
            names, remedy = " and ".join(scene.absent), "install it there, or correct [watch] distributions"
            return f"{names} cannot be found by {self._python}; {remedy}"
        for distribution in scene.found:
            if not distribution.has_code:
                installed = f"{distribution.name} {distribution.version} is installed in {distribution.site.path}"
                return f"{installed}, but none of its files can be found"
        return ""


def _versions(found: Sequence[Distribution]) -> dict[str, str]:
    return {distribution.name: distribution.version for distribution in found}
