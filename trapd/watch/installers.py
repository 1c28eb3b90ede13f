"""Is somebody still writing? Facts, before any timer.

Measured with pip on a package of 601 modules: for 1.2 s it is absent, then partly there, then all there with RECORD
while its .pyc files are still being written; pip's stash (~name) brackets all of that exactly. A pip that is killed
leaves its stash behind, and a package that can still be imported, by half.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from trapd.watch.at_work import Installer, at_work
from trapd.watch.distributions import Distribution, Kind
from trapd.watch.dpkg import Dpkg
from trapd.watch.records import Fault, Records, keeps_to_record
from trapd.watch.remedies import again, anew, readable
from trapd.watch.sites import Site, find, is_stash_of, normalise, of_metadata
from trapd.watch.walked import Walked

GIT_AT_WORK = ("index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")


@dataclass(frozen=True, slots=True)
class Wholeness:
    """``reason``: why what is installed cannot be taken as whole, and what to do if nobody is at work; empty if it can.

    ``altered``: how distributions differ from what was installed, each as a sentence under a mark, "NAME DIGEST", that
    stays the same for as long as the difference does: the watched ones first. People prune and patch code, and wheels
    have a RECORD that is not true: whether that counts depends on whether it was so before, or a person accepts it.
    ``unreadable``: marks of those that have a file which cannot be read, and so would not be copied.
    """

    reason: str = ""
    altered: Mapping[str, str] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()


class _Altered(NamedTuple):
    """How one distribution differs from what was installed."""

    mark: str
    why: str
    unreadable: bool


class Installers:
    """What installers say about themselves, for one interpreter; remembers what it read, so that a look is cheap."""

    def __init__(self, *, proc: Path = Path("/proc"), dpkg: Dpkg | None = None) -> None:
        self._proc, self._dpkg, self._records = proc, dpkg or Dpkg(), Records()

    def judge(
        self,
        found: Sequence[Distribution],
        sites: Sequence[Site],
        needed: Set[str],
        *,
        prefix: str,
        fresh: bool = False,
        walked: Callable[[Distribution], Walked | None] = lambda distribution: None,
    ) -> Wholeness:
        """``found``: the watched ones. ``needed``: normalised names of them and of all that they require or required.
        ``fresh``: trust no times of the watched ones' files. ``walked``: what is in these.
        Raises OSError if a file cannot be read.

        While somebody is at work nothing is compared, which would cost time that he needs.
        """
        self._records.begin()
        of_system = _of_system(sites, needed)
        reasons = chain(
            _stashes(sites, needed),
            _half_done(found),
            self._dpkg.unfinished(sites, needed, of_system=of_system, proc=self._proc),
            _unpacked(found, sites, needed),
            (installer.why for installer in self._others_at_work(prefix, of_system=of_system)),
        )
        if reason := next(reasons, ""):
            return Wholeness(reason)
        others = sorted(needed - {normalise(distribution.name) for distribution in found})
        watched = (self._watched(distribution, fresh, walked(distribution)) for distribution in found)
        required = (self._required(name, sites) for name in others)
        altered = [*chain.from_iterable(chain(watched, required))]
        self._records.end()
        unreadable = frozenset(one.mark for one in altered if one.unreadable)
        return Wholeness(altered={one.mark: one.why for one in altered}, unreadable=unreadable)

    def at_work(self, sites: Sequence[Site], needed: Set[str], *, prefix: str) -> frozenset[int]:
        """The processes of installers that are at work on these; see ``judge``."""
        of_system = _of_system(sites, needed)
        dpkg = self._dpkg.at_work(sites, needed, of_system=of_system, proc=self._proc)
        return frozenset(i.pid for i in chain(dpkg, self._others_at_work(prefix, of_system=of_system)))

    def _others_at_work(self, prefix: str, *, of_system: bool) -> Iterator[Installer]:
        for installer in at_work(prefix, self._proc, of_system=of_system):
            self._dpkg.started(installer.pid, self._proc)
            yield installer

    def _watched(self, distribution: Distribution, fresh: bool, walked: Walked | None) -> Iterator[_Altered]:
        site = distribution.site
        if not site.of_system and distribution.metadata:
            recorded = distribution.kind is Kind.PACKAGED
            yield from self._altered(
                distribution.name, site, distribution.metadata, fresh=fresh, walked=walked, recorded=recorded
            )

    def _required(self, name: str, sites: Sequence[Site]) -> Iterator[_Altered]:
        where = find(sites, name)
        if where is not None and not where[0].of_system:
            yield from self._altered(name, *where)

    def _altered(
        self,
        name: str,
        site: Site,
        metadata: str,
        *,
        fresh: bool = False,
        walked: Walked | None = None,
        recorded: bool = True,
    ) -> Iterator[_Altered]:
        """``recorded``: whether its installer leaves a RECORD."""
        faults = self._records.faults(site.path, metadata, fresh=fresh, walked=walked)
        installer = self._records.installer(site.path, metadata)
        closed = [fault for fault in faults or () if fault.unreadable]
        wrong = [*_unreadable(name, site, closed), *_two_versions(name, site)]
        if faults is None and recorded:
            wrong += _no_record(name, site, metadata, installer)
        elif faults:
            wrong.append(f"{_sentence(name, site, faults)}; {again(name, installer)}")
        if wrong:
            lines = [metadata, *(f"{fault.path} {fault.found}" for fault in faults or ())]
            mark = sha256(os.fsencode(chr(10).join(lines))).hexdigest()[:12]
            yield _Altered(f"{normalise(name)} {mark}", wrong[0], bool(closed))


def _of_system(sites: Sequence[Site], needed: Set[str]) -> bool:
    """Whether some of these lie, or lay, where only the system's package manager installs."""
    homes = [find(sites, name) for name in needed]
    return any(home[0].of_system for home in homes if home) or (None in homes and any(site.of_system for site in sites))


def _half_done(found: Sequence[Distribution]) -> Iterator[str]:
    for distribution in found:
        if distribution.litter:
            yield f"{distribution.name} is not installed to its end: {distribution.litter[0]} is there"
        if distribution.from_source:
            yield from _git(distribution)


def _sentence(name: str, site: Site, faults: Sequence[Fault]) -> str:
    more = f", and {len(faults) - 1} more of its files are not as installed" if len(faults) > 1 else ""
    return f"{name} is not whole: {site.path}/{faults[0].path} {faults[0].why}{more}"


def _unreadable(name: str, site: Site, closed: Sequence[Fault]) -> Iterator[str]:
    if closed:
        more = f", as {len(closed) - 1} more of the files of {name}" if len(closed) > 1 else ""
        yield f"cannot read {site.path}/{closed[0].path}: permission denied{more}; {readable()}"


def _no_record(name: str, site: Site, metadata: str, installer: str) -> Iterator[str]:
    """Installers of the system, and distutils, write none."""
    if metadata.endswith(".dist-info") and site.path.name == "site-packages" and keeps_to_record(installer):
        why = f"{metadata} has no RECORD that can be read; {anew(name, metadata, installer)}"
        yield f"{name} is not installed to its end: {why}"


def _unpacked(found: Sequence[Distribution], sites: Sequence[Site], needed: Set[str]) -> Iterator[str]:
    """dpkg puts each file beside its place under another name, and renames all of them at the end of a package."""
    for site in sites:
        for name in site.names:
            if name.endswith(_DPKG) and of_metadata(name.removesuffix(_DPKG)) in needed:
                yield f"dpkg has not finished to unpack {site.path / name}; install its package again"
    for name in needed - {normalise(distribution.name) for distribution in found}:
        if where := find(sites, name):
            info = where[0].path / where[1]
            for entry in info.glob(f"*{_DPKG}"):
                yield f"dpkg has not finished to unpack {entry}; install its package again"


_DPKG = ".dpkg-new"


def _stashes(sites: Sequence[Site], needed: Set[str]) -> Iterator[str]:
    for site in sites:
        for stash in site.stashes:
            for name in sorted(needed):
                if is_stash_of(stash, name) and not _is_outlived(site.path / stash, sites, name):
                    yield (
                        f"pip is replacing {name}, or was killed while it did: {site.path}/{stash} is there; "
                        f"if no pip is running, {_after_stash(name, sites)}, and remove {site.path}/~*"
                    )


def _is_outlived(stash: Path, sites: Sequence[Site], name: str) -> bool:
    """Whether a later installation came to its end beside a stash that some earlier pip has left for ever.

    pip writes RECORD last of all, and only then is its own INSTALLER in it; what follows is the removal of the stash.
    """
    found = find(sites, name)
    if found is None:
        return False
    record = found[0].path / found[1] / "RECORD"
    finished = any(line.startswith(f"{found[1]}/INSTALLER,") for line in _lines(record))
    return finished and record.stat().st_ctime_ns >= stash.stat().st_ctime_ns


def _after_stash(name: str, sites: Sequence[Site]) -> str:
    where = find(sites, name)
    if where is None:
        return again(name, "")
    return again(name, "") if (where[0].path / where[1] / "RECORD").exists() else anew(name, where[1], "")


def _two_versions(name: str, site: Site) -> Iterator[str]:
    both = site.metadata.get(normalise(name), [])
    if len(both) > 1 and not site.of_system:
        there = f"two versions of {name} are in {site.path}: {', '.join(both)}"
        bare = [metadata for metadata in both if not (site.path / metadata / "RECORD").is_file()]
        if bare and len(bare) < len(both):  # pip refuses to uninstall what has no RECORD
            yield f"{there}; remove {', '.join(bare)} there, and {again(name, '')}"
        else:
            yield f"{there}; run pip uninstall {name} until none is left, then install it"


# --- git -------------------------------------------------------------------------------------------------------------


def git_folder(path: Path) -> Path | None:
    """The .git folder of the work tree that ``path`` is in, if it is in one; a linked work tree has its own."""
    for folder in (path, *path.parents):
        git = folder / ".git"
        if git.is_dir():
            return git
        if git.is_file():
            where = git.read_text("utf-8", "replace").removeprefix("gitdir:").strip().replace("\0", "")
            return Path(os.path.realpath(folder / where))
    return None


def _git(distribution: Distribution) -> Iterator[str]:
    for folder in {git_folder(top) for top in distribution.trees} - {None}:
        for name in GIT_AT_WORK:
            if folder is not None and (folder / name).exists():
                yield f"git is at work on {distribution.name}, or waits for you: {folder / name} is there"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
