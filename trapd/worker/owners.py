"""Which distribution a file of the import path belongs to: what installers wrote down, read once and cheaply.

importlib.metadata.packages_distributions() makes an object of each line of each RECORD. Here a line is a piece of text,
and only of folders that several distributions share (namespaces) each file is remembered.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

_METADATA = re.compile(r"(?P<name>.+?)(?:-\d[^-]*(?:-py\d.*)?)?\.(?:dist|egg)-info")


def normalise(name: str) -> str:
    """As trapd.content.normalise, which does not travel with generations."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass
class Site:
    """One folder of the import path."""

    path: str
    stamp: int  # of the folder, when it was read
    owners: dict[str, set[str]] = field(default_factory=dict)  # what is directly in it, without suffix -> distributions
    records: dict[str, str] = field(default_factory=dict)  # distribution -> its RECORD; empty where it has none
    sources: list[tuple[str, str]] = field(default_factory=list)  # folder of an editable install, distribution
    files: dict[str, str] = field(default_factory=dict)  # of what is shared: file -> distribution
    listed: set[str] = field(default_factory=set)  # distributions whose files are in ``files``


@dataclass(frozen=True)
class Owner:
    """A distribution, by its normalised name; ``record`` is empty where it has none, or where that lists no code."""

    name: str
    record: str


class Owners:
    """Raises nothing for what cannot be read: it belongs to nobody."""

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}

    def of(self, file: str) -> Owner | None:
        """The distribution that a loaded module's file belongs to."""
        entries = sorted({entry for entry in sys.path if entry}, key=len, reverse=True)
        for entry in entries:
            if file.startswith(f"{entry.rstrip('/')}/") and (found := self._in(entry, file)):
                return found
        for entry in entries:
            if entry not in self._sites:
                self._sites[entry] = _read(entry)
        sources = [source for site in self._sites.values() for source in site.sources]
        real = os.path.realpath(file) if sources else ""
        return next((Owner(name, "") for source, name in sources if real.startswith(f"{source}/")), None)

    def _in(self, entry: str, file: str) -> Owner | None:
        """Read again what was not known, if something was installed since."""
        site = self._sites.get(entry)
        for _ in range(2):
            if site is not None and (name := _owner(site, file[len(entry.rstrip("/")) + 1 :])):
                return Owner(name, site.records[name])
            if site is not None and site.stamp == _stamp(entry):
                return None
            site = self._sites[entry] = _read(entry)
        return None


def _owner(site: Site, path: str) -> str:
    top, inner, _ = path.partition("/")
    owners = site.owners.get(top if inner else top.partition(".")[0], set())
    if len(owners) < 2:
        return next(iter(owners), "")
    for name in owners - site.listed:
        site.files |= dict.fromkeys(_recorded(site.records[name]), name)
        site.listed.add(name)
    return site.files.get(path, "")


def _read(entry: str) -> Site:
    site = Site(entry, _stamp(entry))
    try:
        with os.scandir(entry) as entries:
            found = sorted(each.name for each in entries if each.name.endswith("-info") and each.name[0] != "~")
    except OSError:
        return site
    for folder in found:
        if match := _METADATA.fullmatch(folder):
            name, metadata = normalise(match["name"]), f"{entry.rstrip('/')}/{folder}"
            if name in site.records:  # left by an installer that was killed
                continue
            tops = _tops(f"{metadata}/RECORD")
            site.records[name] = f"{metadata}/RECORD" if tops else ""
            # Debian's packages have no RECORD, and mostly a top_level.txt
            for top in tops or _text(f"{metadata}/top_level.txt").split() or [match["name"].replace("-", "_"), name]:
                site.owners.setdefault(top, set()).add(name)
            if source := _source(metadata):
                site.sources.append((source, name))
    return site


def _tops(record: str) -> set[str]:
    """What can be imported from it."""
    return {path.partition("/")[0] if "/" in path else path.partition(".")[0] for path in _recorded(record)}


def _recorded(record: str) -> Iterator[str]:
    """Files below the import root; metadata is none of them."""
    own = f"{Path(record).parent.name}/"
    for line in _text(record).splitlines():
        path = line[1:].partition('"')[0] if line.startswith('"') else line.partition(",")[0]
        if path and not path.startswith((own, "../", "/")):
            yield path


def _source(metadata: str) -> str:
    """The folder that an editable install is imported from."""
    text = _text(f"{metadata}/direct_url.json")
    try:
        url = json.loads(text) if '"editable"' in text else {}
        return os.path.realpath(unquote(str(url["url"]).removeprefix("file://"))) if url["dir_info"]["editable"] else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _stamp(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0
