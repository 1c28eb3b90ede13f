"""One look: find the watched distributions, read them, judge whether they are whole. It blocks: run it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from trapd.model import Disk, DiskState, TreeFile
from trapd.watch.archives import holding
from trapd.watch.distributions import Distribution, locate
from trapd.watch.fingerprint import Hasher, fingerprint
from trapd.watch.installers import Installers
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places, places
from trapd.watch.projects import placed
from trapd.watch.quiet import Finding, Verdict
from trapd.watch.sites import Site, closure, normalise, required, scan

_ALWAYS_REQUIRED = ("celery",)  # Trap's metadata does not name it, and no worker is without it
_ATTEMPTS = 5  # folders come and go while an installer works; what it does later, it is heard doing
Arm = Callable[[Places], bool]  # listen there from now on; whether anything is listened to anew


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look found. ``disk`` is what it would be if this is whole and stays as it is."""

    finding: Finding
    disk: Disk = field(default_factory=lambda: Disk(DiskState.SETTLED))
    found: Sequence[Distribution] = ()
    needed: frozenset[str] = frozenset()  # normalised names of the watched distributions and all that they require
    altered: Mapping[str, str] = field(default_factory=dict)  # see Wholeness


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
        self._installers = Installers()
        self._needed = frozenset[str]()  # of the last state that settled, and what was found to be required since
        self._altered: Mapping[str, str] | None = None  # of the last state that settled

    def look(self, answer: Answer, arm: Arm, *, wall: float, fresh: bool) -> Survey:
        """Take a look. ``fresh``: trust no file's times, read all. Never raises for what is, or vanishes, on disk."""
        try:
            scene = self._locate(answer, arm)
            self._hasher.begin(fresh=fresh)
            return self._read(scene, answer, wall, fresh)
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

    def _read(self, scene: _Scene, answer: Answer, wall: float, fresh: bool) -> Survey:
        names = (*self._names, *_ALWAYS_REQUIRED)
        needed = frozenset(required(scene.sites, names)) | {normalise(name) for name in self._names}
        self._needed |= needed
        whole = self._installers.judge(scene.found, scene.sites, self._needed, prefix=answer.prefix, fresh=fresh)
        new = {} if self._altered is None else {k: v for k, v in whole.altered.items() if k not in self._altered}
        reason = whole.reason or next(iter(new.values()), "")
        wrong = answer.problem or self._incomplete(scene, answer)
        if not answer.identity or not answer.celeryconfig:
            disk = Disk(DiskState.SETTLED, versions=_versions(scene.found))
            return Survey(Finding(Verdict.BROKEN, wrong), disk, scene.found)

        files, roots, written = self._files(scene.found)
        config = self._hasher.stamp(str(self._celeryconfig))
        counted = [(file.path, file.digest) for file in files if file.digest]
        versions = {**closure(scene.sites, names), **_versions(scene.found)}
        mark = fingerprint(counted, versions, config.digest, answer.identity)
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
        seen = " ".join([mark, *new])  # a library that breaks is a change, though its version stays
        finding = Finding(verdict, reason or wrong, seen, age if age >= 0 else float("inf"))
        return Survey(finding, disk, scene.found, needed, whole.altered)

    def settled(self, survey: Survey) -> None:
        """What a look saw has come to rest, whole: from then on what it left out is needed no more, and how libraries
        differ from what was installed is how they are."""
        self._needed, self._altered = survey.needed, survey.altered

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
