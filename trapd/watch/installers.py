"""Is somebody still writing? Facts, before any timer.

Measured with pip on a package of 601 modules: for 1.2 s it is absent, then partly there, then all there with RECORD
while its .pyc files are still being written; pip's stash (~name) brackets all of that exactly. A pip that is killed
leaves its stash behind, and a package that can still be imported, by half.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trapd.watch.distributions import Distribution, Kind, Recorded
from trapd.watch.fingerprint import Hasher
from trapd.watch.sites import Site, find, is_stash_of, normalise

_DPKG_LOCKS = (Path("/var/lib/dpkg/lock"), Path("/var/lib/dpkg/lock-frontend"))
GIT_AT_WORK = ("index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")
# Whose RECORD says what is there. Others change files after it was written: conda puts prefixes in, Debian strips
# libraries. pip names itself last of all, so nobody's may be that of a pip which was killed.
_TRUE_TO_RECORD = frozenset({"", "pip", "uv", "poetry", "pdm"})


def unfinished(
    found: Sequence[Distribution],
    sites: Sequence[Site],
    names: Iterable[str],
    hasher: Hasher,
    *,
    prefix: str,
    proc: Path = Path("/proc"),
) -> str:
    """Why what is installed cannot be taken as whole, and what to do if nobody is at work; empty if it can.

    ``names`` are the distributions whose stash matters: the watched ones and what they require. Raises OSError if a
    file vanishes while it is read.
    """
    return next(_reasons(found, sites, set(names), hasher, prefix, proc), "")


def _reasons(
    found: Sequence[Distribution], sites: Sequence[Site], names: set[str], hasher: Hasher, prefix: str, proc: Path
) -> Iterator[str]:
    yield from _stashes(sites, names)
    for distribution in found:
        yield from _two_versions(distribution, sites)
        if distribution.litter:
            yield f"{distribution.name} is not installed to its end: {distribution.litter[0]} is there"
        if distribution.from_source:
            yield from _git(distribution)
        elif distribution.site.of_system:
            yield from _dpkg(proc)
    for distribution in found:
        if not distribution.site.of_system:
            true = (distribution.installer.split() or [""])[0] in _TRUE_TO_RECORD
            yield from _records(distribution, hasher) if true else _missing(distribution)
    yield from _running_pip(prefix, proc)


def _stashes(sites: Sequence[Site], names: set[str]) -> Iterator[str]:
    for site in sites:
        for stash in site.stashes:
            for name in sorted(names):
                if is_stash_of(stash, name) and not _is_outlived(site.path / stash, sites, name):
                    yield (
                        f"pip is replacing {name}, or was killed while it did: {site.path}/{stash} is there; "
                        f"if no pip is running, install {name} again and remove {site.path}/~*"
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


def _two_versions(distribution: Distribution, sites: Sequence[Site]) -> Iterator[str]:
    for site in sites:
        both = site.metadata.get(normalise(distribution.name), [])
        if site.path == distribution.site.path and len(both) > 1 and not site.of_system:
            there = f"two versions of {distribution.name} are in {site.path}: {', '.join(both)}"
            yield f"{there}; uninstall it until none is left, then install it"


# --- RECORD ---------------------------------------------------------------------------------------------------------


def _records(distribution: Distribution, hasher: Hasher) -> Iterator[str]:
    if (
        distribution.kind is Kind.PACKAGED
        and distribution.metadata.endswith(".dist-info")
        and distribution.site.path.name == "site-packages"
    ):
        why = f"{distribution.metadata} has no RECORD that can be read; install it again"
        yield f"{distribution.name} is not installed to its end: {why}"
    for line in distribution.record:
        if fault := _fault(distribution, line, hasher):
            yield f"{distribution.name} is not whole: {distribution.site.path}/{line.path} {fault}; install it again"


def _missing(distribution: Distribution) -> Iterator[str]:
    """Whoever changes or leaves out other files, code that is recorded has to be there."""
    for line in distribution.record:
        if line.path.endswith((".py", ".so")) and not (distribution.site.path / line.path).exists():
            yield f"{distribution.name} is not whole: {distribution.site.path}/{line.path} is missing; install it again"


def _fault(distribution: Distribution, line: Recorded, hasher: Hasher) -> str:
    if line.path.endswith((".pyc", "/RECORD")):
        return ""
    source = distribution.site.path / line.path
    try:
        stamp = hasher.stamp(str(source))
    except FileNotFoundError:
        return "is missing"
    if line.size is not None and stamp.size != line.size:
        return f"has {stamp.size} bytes, not {line.size} as installed"
    algorithm, _, digest = line.digest.partition("=")
    if algorithm == "sha256" and digest != _as_in_record(stamp.digest):
        return "has another content than was installed"
    return ""


def _as_in_record(digest: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()


# --- others at work -------------------------------------------------------------------------------------------------


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


def _dpkg(proc: Path) -> Iterator[str]:
    """Who may not open the locks can still read who holds them; and reading can never take one."""
    mounts = [line.split() for line in _lines(proc / "self/mountinfo")]
    wanted = {identity for path in _DPKG_LOCKS for identity in _lock_identities(path, mounts)}
    for line in _lines(proc / "locks") if wanted else []:
        fields = line.split()
        if "->" not in fields and len(fields) > 5 and fields[5] in wanted:
            yield f"a package installation is going on (process {fields[4]} holds dpkg's lock)"


def _lock_identities(path: Path, mounts: Sequence[Sequence[str]]) -> Iterator[str]:
    """device:inode as /proc/locks names a file. On overlayfs and btrfs stat() gives another device than the kernel's
    own, which is the one in proc(5)'s mountinfo: field 3 of the mount whose place, field 5, is nearest above."""
    try:
        found = path.stat()
    except OSError:
        return
    yield f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    around = [fields for fields in mounts if len(fields) > 4 and path.is_relative_to(fields[4])]
    if around:
        major, _, minor = max(reversed(around), key=lambda fields: len(fields[4]))[2].partition(":")
        yield f"{int(major):02x}:{int(minor):02x}:{found.st_ino}"


def _running_pip(prefix: str, proc: Path) -> Iterator[str]:
    """Between two packages of one ``pip install`` there is no stash, and it may take long to compile a new one."""
    for folder in proc.glob("[0-9]*"):
        words = _words(folder / "cmdline")
        if _is_pip(words) and any(_belongs(word, prefix) for word in [*words[:2], *_activated(folder, words)]):
            yield f"pip is running (process {folder.name})"


def _is_pip(words: Sequence[str]) -> bool:
    script = Path(words[1]).name if words[1:] else ""  # the second is what `pip --python` runs in the other environment
    called = "\0-m\0pip\0" in "\0".join(words[:6]) or script.startswith(("pip", "__pip-runner__"))
    return called and bool({"install", "uninstall"} & set(words[2:8]))


def _activated(process: Path, words: Sequence[str]) -> Iterator[str]:
    """``python -m pip`` names no folder: its virtual environment does, if we may read that process's environment."""
    if words[0] and "/" not in words[0]:
        for word in _words(process / "environ"):
            name, _, value = word.partition("=")
            if name == "VIRTUAL_ENV":
                yield f"{value}/bin/{words[0]}"


def _words(path: Path) -> list[str]:
    return "\0".join(_lines(path)).split("\0")


def _belongs(program: str, prefix: str) -> bool:
    path = Path(program)
    return bool(prefix) and path.is_absolute() and path.parent.parent.resolve() == Path(prefix).resolve()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
