"""One look: find the watched distributions, read them, judge whether they are whole. It blocks: run it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from trapd.content import CELERYCONFIG, INTERPRETER, Content
from trapd.model import Disk, DiskState, TreeFile
from trapd.watch.archives import holding
from trapd.watch.contents import Contents, commit_of, digest_of
from trapd.watch.distributions import Distribution, locate
from trapd.watch.fingerprint import Hasher, earlier_fingerprint, fingerprint
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
    needed: frozenset[str]  # normalised names: what is watched, Celery, what all these require, and what is loaded
    unrecorded: Mapping[str, Distribution]  # of what is needed and not watched, that whose files no RECORD lists


class Surveyor:
    """Takes looks, and remembers what it read so that the next is cheap."""

    def __init__(self, python: Path, celeryconfig: Path, distributions: Sequence[str]) -> None:
        self._python, self._celeryconfig, self._names = python, celeryconfig, tuple(distributions)
        self._hasher, self._contents = Hasher(), Contents()
        self._installers = Installers()
        self._needed = frozenset[str]()  # of the last state that settled, and what was found to be required since
        self._altered: Mapping[str, str] | None = None  # of the last state that settled

    def look(
        self, answer: Answer, arm: Arm, *, wall: float, fresh: bool, loaded: Collection[str] = frozenset()
    ) -> Survey:
        """Take a look. ``fresh``: trust no file's times, read all. ``loaded``: distributions that count beside those
        that are required, by normalised name. Never raises for what is, or vanishes, on disk."""
        try:
            scene = self._locate(answer, arm, loaded)
            self._hasher.begin(fresh=fresh)
            return self._read(scene, answer, wall, fresh)
        except FileNotFoundError as error:
            return Survey(Finding(Verdict.UNFINISHED, f"files are being replaced: {error.filename} vanished"))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return Survey(Finding(Verdict.BROKEN, f"cannot read {error.filename}: {why}"))

    def _locate(self, answer: Answer, arm: Arm, loaded: Collection[str]) -> _Scene:
        """Listen first, look afterwards: what changes in between is then either seen or heard."""
        for _ in range(_ATTEMPTS):
            sites = scan(answer.paths)
            located = {name: locate(name, sites, answer.editable) for name in self._names}
            found = [distribution for distribution in located.values() if distribution]
            absent = [name for name, distribution in located.items() if not distribution]
            watched = set(map(normalise, self._names))
            needed = frozenset({*required(sites, (*self._names, *_ALWAYS_REQUIRED)), *watched, *loaded})
            unrecorded = self._contents.unrecorded(sites, answer.editable, sorted(needed - watched))
            edited = [distribution for distribution in unrecorded.values() if distribution.from_source]
            if not arm(places(self._python, self._celeryconfig, answer.paths, sites, [*found, *edited], absent)):
                break
        return _Scene(sites, found, absent, needed, unrecorded)

    def _read(self, scene: _Scene, answer: Answer, wall: float, fresh: bool) -> Survey:
        self._needed |= scene.needed
        whole = self._installers.judge(scene.found, scene.sites, self._needed, prefix=answer.prefix, fresh=fresh)
        new = {} if self._altered is None else {k: v for k, v in whole.altered.items() if k not in self._altered}
        reason = whole.reason or next(iter(new.values()), "")
        wrong = answer.problem or self._incomplete(scene, answer)
        if not answer.identity or not answer.celeryconfig:
            disk = Disk(DiskState.SETTLED, versions=_versions(scene.found))
            return Survey(Finding(Verdict.BROKEN, wrong), disk, scene.found)

        disk, written = self._disk(scene, answer)
        config = self._hasher.stamp(str(self._celeryconfig))
        if config.digest != answer.celeryconfig:
            reason = reason or f"{self._celeryconfig} changed while it was read"
        verdict = Verdict.UNFINISHED if reason else Verdict.BROKEN if wrong else Verdict.WHOLE
        age = wall - max([config.written, *written])
        # a library that breaks is a change, though its RECORD stays
        seen = " ".join([fingerprint(disk.distributions, disk.distributions), *new])
        # a clock that was set back makes files of the future: they say nothing
        finding = Finding(verdict, reason or wrong, seen, age if age >= 0 else float("inf"))
        return Survey(finding, disk, scene.found, scene.needed, whole.altered)

    def _disk(self, scene: _Scene, answer: Answer) -> tuple[Disk, list[float]]:
        """What is installed, and when the watched files were written."""
        names = (*self._names, *_ALWAYS_REQUIRED)
        files, roots, written = self._files(scene.found)
        config = self._hasher.stamp(str(self._celeryconfig)).digest
        table = {
            **self._contents.table(scene.sites, scene.unrecorded),
            **self._watched(scene.found),
            INTERPRETER: self._contents.interpreter(answer.version, answer.identity, self._python, answer.standard),
            CELERYCONFIG: Content("", config),
        }
        counts = sorted({*required(scene.sites, names), *map(normalise, self._names), INTERPRETER, CELERYCONFIG})
        counted = [(file.path, file.digest) for file in files if file.digest]
        versions = {**closure(scene.sites, names), **_versions(scene.found)}
        disk = Disk(
            DiskState.SETTLED,
            fingerprint=fingerprint(table, counts),
            versions=_versions(scene.found),
            files=(*files, TreeFile("etc/celeryconfig.py", str(self._celeryconfig), config)),
            eager=answer.eager,
            roots=roots,
            distributions=table,
            required=tuple(counts),
            earlier=earlier_fingerprint(counted, versions, config, answer.identity),
        )
        return disk, written

    def settled(self, survey: Survey) -> None:
        """What a look saw has come to rest, whole: from then on what it left out is needed no more, and how libraries
        differ from what was installed is how they are."""
        self._needed, self._altered = survey.needed, survey.altered

    def _watched(self, found: Iterable[Distribution]) -> dict[str, Content]:
        """Read whole, for they are copied: their own part of the table, by what is in their files."""
        table = {}
        for distribution in found:
            counted = [file for file in distribution.files if file.counted]
            digest = digest_of((file.path, self._hasher.stamp(file.source).digest) for file in counted)
            at = commit_of(distribution) if distribution.from_source else ""
            table[normalise(distribution.name)] = Content(distribution.version, digest, at)
        return table

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
