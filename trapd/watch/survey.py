"""One look: find the watched distributions, read them, judge whether they are whole. It blocks: run it in a thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path

from trapd.content import CELERYCONFIG, INTERPRETER, Content, Environment
from trapd.folders import Copies, Folder, in_order, join
from trapd.model import Disk, DiskState, TreeFile
from trapd.rollout import celeryconfig
from trapd.rollout.condition import Condition
from trapd.watch.archives import holding
from trapd.watch.contents import Contents, commit_of, digest_of
from trapd.watch.distributions import Distribution, Kind, locate
from trapd.watch.environment import AUTO, NO_ENVIRONMENT, Describer
from trapd.watch.facts import vouched
from trapd.watch.fingerprint import Hasher, earlier_fingerprint, fingerprint
from trapd.watch.installers import Installers, Wholeness
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places, places
from trapd.watch.projects import placed
from trapd.watch.quiet import Finding, Verdict
from trapd.watch.remedies import again, readable
from trapd.watch.requirements import Requirements, Requirer
from trapd.watch.shadows import NO_PATHS, Shadow, shadows
from trapd.watch.sites import Site, closure, described, find, forget_metadata, normalise, required, scan
from trapd.watch.walked import Remembered, Walked

_ALWAYS_REQUIRED = ("celery",)  # Trap's metadata does not name it, and no worker is without it
_AS_IT_IS = "or take it as it is with trapctl retry"
_ATTEMPTS = 5  # folders come and go while an installer works; what it does later, it is heard doing
Arm = Callable[[Places], Collection[Path]]  # listen there from now on; returns what is listened to anew


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look found. ``disk`` is what it would be if this is whole and stays as it is."""

    finding: Finding
    disk: Disk = field(default_factory=lambda: Disk(DiskState.SETTLED))
    found: Sequence[Distribution] = ()
    needed: frozenset[str] = frozenset()  # normalised names of the watched distributions and all that they require
    warnings: Mapping[str, str] = field(
        default_factory=dict
    )  # what is not whole, and holds nothing back if it is whole
    shadows: Sequence[Shadow] = ()


@dataclass(frozen=True, slots=True)
class _Scene:
    """Everything that was located, before any of it is read."""

    sites: list[Site]
    found: list[Distribution]
    absent: list[str]
    needed: frozenset[str]  # normalised names: what is watched, Celery, what all these require, and what is loaded
    unrecorded: Mapping[str, Distribution]  # of what is needed and not watched, that whose files no RECORD lists

    @property
    def edited(self) -> list[Distribution]:
        """What is needed, not watched, and imported from a source tree."""
        return [distribution for distribution in self.unrecorded.values() if distribution.from_source]


@dataclass(frozen=True, slots=True)
class Meant:
    """What a look is judged by. ``loaded``: normalised names of distributions that count beside the required ones.
    ``condition``: how whole what is wanted was; None accepts everything but the watched distributions as it is.
    ``earlier``: whether somebody asks for the fingerprint that a trapd without tables took."""

    loaded: Collection[str] = frozenset()
    condition: Condition | None = None
    earlier: bool = True


_NOTHING = Meant()


class Surveyor:
    """Takes looks, and remembers what it read so that the next is cheap."""

    def __init__(
        self,
        python: Path,
        celeryconfig: Path,
        distributions: Sequence[str],
        *,
        snapshot: str = AUTO,
        paths: Mapping[str, str] = NO_PATHS,
    ) -> None:
        """``snapshot``: "environment", "distributions"; "auto": the former where there is a virtual environment.
        ``paths``: setting -> PYTHONPATH, of the pools."""
        self._snapshot, self._paths = snapshot, paths
        self._python, self._celeryconfig, self._names = python, celeryconfig, tuple(distributions)
        self._hasher, self._contents = Hasher(), Contents()
        self._remembered = Remembered()
        self._installers, self._describer = Installers(), Describer()
        self._needed = frozenset[str]()  # of the last state that settled, and what was found to be required since
        self._requirer = Requirer()
        self._settled: Mapping[str, Content] | None = None  # the table of the last state that did
        self._sites, self._prefix = list[Site](), ""  # of the last look
        self._counting: Mapping[str, str] = {}  # what held back what the last look saw, and is not so of what is wanted
        self._taken: frozenset[str] = frozenset()  # of that, what counts no more: somebody said so

    def look(self, answer: Answer, arm: Arm, *, wall: float, fresh: bool, meant: Meant = _NOTHING) -> Survey:
        """Take a look. ``fresh``: trust no file's times, read all. Never raises for what is, or vanishes, on disk."""
        try:
            scene = self._locate(answer, arm, meant.loaded)
            self._hasher.begin(fresh=fresh)
            survey = self._read(scene, answer, wall, fresh, meant)
            if survey.disk.fingerprint and survey.finding.verdict is not Verdict.UNFINISHED:  # all of it was read
                self._hasher.end()
            return survey
        except FileNotFoundError as error:
            return Survey(Finding(Verdict.UNFINISHED, f"files are being replaced: {error.filename} vanished"))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            why += f"; {readable()}" if isinstance(error, PermissionError) else ""
            return Survey(Finding(Verdict.BROKEN, f"cannot read {os.fsdecode(error.filename or '')}: {why}"))

    def _locate(self, answer: Answer, arm: Arm, loaded: Collection[str]) -> _Scene:
        """Listen first, look afterwards: what changes in between is then either seen or heard. What was listened to
        before need not be located once more: pip, at work on one distribution, leaves the others alone."""
        heard: dict[str, Distribution] = {}
        for _ in range(_ATTEMPTS):
            sites = scan(answer.paths)
            layouts = self._contents.layouts
            located = {name: heard.get(name) or locate(name, sites, answer.editable, layouts) for name in self._names}
            found = [distribution for distribution in located.values() if distribution]
            absent = [name for name, distribution in located.items() if not distribution]
            watched = set(map(normalise, self._names))
            needed = frozenset({*required(sites, (*self._names, *_ALWAYS_REQUIRED)), *watched, *loaded})
            unrecorded = self._contents.unrecorded(sites, answer.editable, sorted(needed - watched))
            scene = _Scene(sites, found, absent, needed, unrecorded)
            around = self._python, self._celeryconfig, answer.paths, sites
            new = arm(places(*around, [*found, *scene.edited], absent))
            if not new:
                break
            heard = {d.name: d for d in found if places(*around, [d]).all.isdisjoint(new)}
        self._keep(described(scene.sites))
        return scene

    def _keep(self, metadata: frozenset[Path]) -> None:
        """Forget what was read of other metadata than this."""
        forget_metadata(metadata)
        self._contents.layouts.keep(metadata)
        self._describer.keep(metadata)

    def _read(self, scene: _Scene, answer: Answer, wall: float, fresh: bool, meant: Meant) -> Survey:
        condition = meant.condition
        walked = {distribution.name: Walked(distribution.files, self._hasher) for distribution in scene.found}
        self._needed |= scene.needed
        self._sites, self._prefix = scene.sites, answer.prefix
        whole = self._judge(scene, answer, walked, fresh=fresh)
        roots = (*self._names, *_ALWAYS_REQUIRED)
        requirements = None if whole.reason else self._requirer.ask(scene.sites, roots, answer.markers)
        altered = self._not_as_before(whole, condition)
        unmet = _unmet(requirements, condition, self._taken)
        altered |= _undescribed(scene, answer, condition, self._taken)
        self._counting = {**altered, **unmet}
        reason = whole.reason or next(iter(altered.values()), "")
        wrong = answer.problem or self._incomplete(scene, answer) or next(iter(unmet.values()), "")
        environment = self._environment(scene, answer)
        if self._snapshot == "environment" and environment is None:
            wrong = wrong or NO_ENVIRONMENT.format(python=self._python)
        if not answer.identity or not answer.celeryconfig:
            disk = Disk(DiskState.SETTLED, versions=_versions(scene.found))
            return Survey(Finding(Verdict.BROKEN, wrong), disk, scene.found)

        disk, written = self._disk(scene, answer, environment, walked, earlier=meant.earlier)
        if whole.altered:  # what it really consists of is not what its RECORD says
            table = {**disk.distributions, **_altered(disk.distributions, whole.altered, walked)}
            disk = replace(disk, distributions=table, fingerprint=fingerprint(table, disk.required))
        config = self._hasher.stamp(str(self._celeryconfig))
        if config.digest != answer.celeryconfig:
            reason = reason or f"{self._celeryconfig} changed while it was read"
        verdict = Verdict.UNFINISHED if reason else Verdict.BROKEN if wrong else Verdict.WHOLE
        age = wall - max(config.written, written)
        # a library that breaks is a change, though its RECORD stays
        seen = " ".join([fingerprint(disk.distributions, disk.distributions), *self._counting])
        # a clock that was set back makes files of the future: they say nothing
        facts = verdict is Verdict.WHOLE and self._vouched(scene, disk, whole)
        finding = Finding(verdict, reason or wrong, seen, age if age >= 0 else float("inf"), facts)
        satisfied = None if requirements is None else requirements.satisfied
        disk = replace(disk, satisfied=satisfied, altered=tuple(sorted(whole.altered)))
        warnings = {**whole.altered, **(requirements.unsatisfied if requirements else {})}
        return Survey(finding, disk, scene.found, scene.needed, warnings, shadows(scene.found, self._paths))

    def _judge(self, scene: _Scene, answer: Answer, walked: Mapping[str, Walked], *, fresh: bool) -> Wholeness:
        return self._installers.judge(
            scene.found,
            scene.sites,
            self._needed,
            prefix=answer.prefix,
            fresh=fresh,
            walked=lambda distribution: walked[distribution.name],
        )

    def _not_as_before(self, whole: Wholeness, condition: Condition | None) -> dict[str, str]:
        """Distributions that are not as recorded, and count: in what is wanted they were not so, and nobody took them
        as they are. A first start takes libraries as it finds them; half of a watched distribution it does not, nor a
        library that cannot be copied whole."""
        watched = set(map(normalise, self._names))
        known = self._taken | (condition.altered if condition else frozenset())
        return {
            mark: f"{why}, {_AS_IT_IS}"
            for mark, why in whole.altered.items()
            if mark not in known and (condition or mark in whole.unreadable or mark.partition(" ")[0] in watched)
        }

    def _environment(self, scene: _Scene, answer: Answer) -> Environment | None:
        if self._snapshot == "distributions":
            return None
        found = [*scene.found, *scene.unrecorded.values()]
        return self._describer.describe(answer, self._python, found, scene.sites, scene.needed)

    def _disk(
        self,
        scene: _Scene,
        answer: Answer,
        environment: Environment | None,
        walked: Mapping[str, Walked],
        *,
        earlier: bool,
    ) -> tuple[Disk, float]:
        """What is installed, and when the youngest file that is copied from where people edit it was written."""
        names = (*self._names, *_ALWAYS_REQUIRED)
        files, roots, written = self._files([*scene.found, *(scene.edited if environment else ())])
        config = self._hasher.stamp(str(self._celeryconfig)).digest
        table = {
            **self._contents.table(scene.sites, scene.unrecorded, apart=set(map(normalise, walked))),
            **self._watched(scene.found, walked),
            INTERPRETER: self._contents.interpreter(answer.version, answer.identity, self._python, answer.standard),
            CELERYCONFIG: Content("", config),
        }
        counts = sorted({*required(scene.sites, names), *map(normalise, self._names), INTERPRETER, CELERYCONFIG})
        disk = Disk(
            DiskState.SETTLED,
            fingerprint=fingerprint(table, counts),
            versions=_versions(scene.found),
            files=Copies(tuple(files), (TreeFile(celeryconfig.FILE, str(self._celeryconfig), config),)),
            eager=answer.eager,
            roots=roots,
            distributions=table,
            required=tuple(counts),
            earlier=self._as_earlier(scene, answer, config) if earlier else "",
            environment=environment,
        )
        return disk, written

    def _as_earlier(self, scene: _Scene, answer: Answer, config: str) -> str:
        versions = {**closure(scene.sites, (*self._names, *_ALWAYS_REQUIRED)), **_versions(scene.found)}
        counted = in_order(self._files(scene.found)[0])
        return earlier_fingerprint(
            ((path, digest.hex()) for path, digest in counted), versions, config, answer.identity
        )

    def settled(self, survey: Survey) -> None:
        """What a look saw has come to rest, whole: what it does not require is needed no more."""
        self._needed, self._settled = survey.needed, survey.disk.distributions

    def at_work(self) -> frozenset[int]:
        """The processes of installers that are at work on what the last look saw. Then the next look is prepared."""
        found = self._installers.at_work(self._sites, self._needed, prefix=self._prefix)
        if found:
            self._requirer.expect()
        return found

    def rest(self) -> None:
        """No change is under way: what was prepared for the next look is given back."""
        self._requirer.rest()

    def _vouched(self, scene: _Scene, disk: Disk, whole: Wholeness) -> bool:
        if self._settled is None:
            return False
        edited = {normalise(d.name) for d in scene.found if d.kind is not Kind.RECORDED}
        altered = {mark.partition(" ")[0] for mark in whole.altered}
        return vouched(self._settled, disk.distributions, scene.sites, {*edited, *scene.unrecorded, *altered})

    def take_as_it_is(self) -> str:
        """What held back what the last look saw, and was not so before, counts no more. Returns it for people."""
        taken, self._counting = self._counting, {}
        self._taken |= taken.keys()
        return ", ".join(why.partition(";")[0] for why in taken.values())

    def _watched(self, found: Iterable[Distribution], walked: Mapping[str, Walked]) -> dict[str, Content]:
        """Read whole, for they are copied: their own part of the table, by what is in their files."""
        table = {}
        for distribution in found:
            digest = self._remembered.digest(distribution.name, walked[distribution.name])
            at = commit_of(distribution) if distribution.from_source else ""
            table[normalise(distribution.name)] = Content(distribution.version, digest, at, distribution.name)
        return table

    def _files(self, found: Sequence[Distribution]) -> tuple[list[tuple[Folder, bytes]], tuple[str, ...], float]:
        """What to copy, the projects' folders among where it is imported from, and when the youngest was written."""
        parts: dict[str, list[tuple[Folder, bytes]]] = {}
        roots: dict[str, None] = {}
        written = 0.0
        for distribution in found:
            folders = distribution.files.folders
            for root, folder in (
                placed(distribution.files, distribution.metadata)
                if distribution.from_source
                else zip(repeat(""), folders)
            ):
                if root:
                    roots[root] = None
                path = join(f"tree{root.rstrip('/')}" if root else "code", folder.path).rstrip("/")
                there = parts.setdefault(path, [])
                if known := frozenset(name for other, _ in there for name in other.all_names):
                    folder = folder.without(known)
                contents = self._hasher.folder(folder)
                written = max(written, contents.written)
                there.append((replace(folder, path=path, text=contents.text, looks=b""), contents.joined))
        return [part for path in sorted(parts) for part in parts[path]], tuple(sorted(roots)), written

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
                source = "see that its source tree is there, or install it without --editable"
                remedy = source if distribution.from_source else "install it again"
                return f"{installed}, but none of its files can be found; {remedy}"
        return ""


def _unmet(requirements: Requirements | None, condition: Condition | None, taken: frozenset[str]) -> dict[str, str]:
    """Requirements that count: they were satisfied in what is wanted, and nobody took the environment as it is."""
    if condition is None or requirements is None:
        return {}
    return {
        pair: f"{why}; install what fits, {_AS_IT_IS}"
        for pair, why in requirements.unsatisfied.items()
        if pair in condition.satisfied and pair not in taken
    }


def _undescribed(scene: _Scene, answer: Answer, condition: Condition | None, taken: frozenset[str]) -> dict[str, str]:
    """What had metadata when the code that is wanted was installed, and has none now, by a mark: an installer that was
    killed leaves that. pip writes the metadata last of all; uv removes it before the modules, and has no stash."""
    left = {}
    for name in sorted(scene.needed & condition.described) if condition else ():
        plain = None if find(scene.sites, name) else locate(name, scene.sites, answer.editable)
        if plain and plain.has_code and plain.site.installed and f"{name} undescribed" not in taken:
            why = f"{name} is not installed to its end: its code is in {plain.site.path}, and its metadata is not"
            left[f"{name} undescribed"] = f"{why}; {again(name, '')}, {_AS_IT_IS}"
    return left


def _altered(table: Mapping[str, Content], marks: Iterable[str], walked: Iterable[str]) -> dict[str, Content]:
    """The part of the table that belongs to distributions whose files are not as recorded. ``walked``: names of those
    whose content in the table is that of their files already."""
    read, found = set(map(normalise, walked)), {}
    for mark in marks:
        name = mark.partition(" ")[0]
        if (content := table.get(name)) and name not in read:
            found[name] = replace(content, digest=digest_of([("RECORD", content.digest), ("altered", mark)]))
    return found


def _versions(found: Sequence[Distribution]) -> dict[str, str]:
    return {distribution.name: distribution.version for distribution in found}
