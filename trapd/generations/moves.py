"""Where in a snapshot the copy of a file or folder lies that something on disk names by its own path. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from trapd.content import Environment
from trapd.folders import Copies, Folder, digests, join
from trapd.generations.manifest import CELERYCONFIG, CODE
from trapd.generations.mirror import home
from trapd.model import TreeFile

ENV = "env"


class Moves:
    """What of an installation is copied to where."""

    def __init__(self, environment: Environment, files: Collection[TreeFile], roots: Iterable[str]) -> None:
        """``files``: what is copied by itself, as a look found it."""
        copies = {**environment.sites, **environment.parts}
        self._sites = {source: f"{ENV}/{place}" for place, source in copies.items()}
        self._roots = {root: home(root) for root in roots}
        self.apart: list[TreeFile] = []  # files that the environment does not hold
        self._moved: dict[str, str] = {}
        self._counted: dict[str, str] = {}  # place in ``code`` that it would have by itself -> its place in ``env``
        self._whole: list[tuple[Folder, str]] = []  # folders of the environment, and their places in ``env``
        self._known: dict[str, list[tuple[Folder, bytes]]] = {}  # the same by where they are, with digests
        self._digests: dict[str, dict[str, str]] = {}  # folder of the environment -> digests of single files in it
        for folder, joined in files.parts if isinstance(files, Copies) else ():
            self._take(folder, joined)
        for file in files.apart if isinstance(files, Copies) else files:
            self._take_file(file)

    def _take(self, folder: Folder, joined: bytes) -> None:
        place = self._below(self._sites, folder.source)
        if place is None or folder.called:
            for file in Copies(((folder, joined),)):
                self._take_file(file)
            return
        self._known.setdefault(folder.source, []).append((folder, joined))
        self._whole.append((folder, place))

    def _take_file(self, file: TreeFile) -> None:
        place = self._below(self._sites, file.source) if file.path != CELERYCONFIG else None
        if place is not None:
            folder, _, name = file.source.rpartition("/")
            self._digests.setdefault(folder, {})[name] = file.digest
            self._counted[file.path] = place
            return
        self.apart.append(file)
        if file.path != CELERYCONFIG:
            self._moved[file.source] = file.path
            self._moved.setdefault(_parent(file.source), _parent(file.path))

    def told(self, folder: str) -> bytes | None:
        """Everything that the look told of the files of this folder, for comparison; None: it told of single files."""
        if folder in self._digests:
            return None
        parts = self._known.get(folder, ())
        names = "\0\0".join(f"{part.text}\0\0{part.free}" for part, _ in parts)
        return b"\0\0".join([names.encode("utf-8", "surrogateescape"), *(joined for _, joined in parts)])

    def digests(self, folder: str) -> dict[str, str]:
        """Of the files that the look told of: name -> sha256 in hex, empty where any content will do."""
        found: dict[str, str] = {}
        for part, joined in self._known.get(folder, ()):
            found |= {name: digest.hex() for name, digest in zip(part.names, digests(joined), strict=True)}
            found |= dict.fromkeys(part.all_names[len(part.names) :], "")
        return found | self._digests.get(folder, {})

    def of_project(self, path: str) -> str | None:
        """Where the copy is of something in a project's folder, or of other code outside the environment."""
        return self._moved.get(path) or self._below(self._roots, path)

    def of(self, path: str) -> str | None:
        """Where the copy is, of something in the environment too. None: there is none."""
        return self._below(self._sites, path) or self.of_project(path)

    def first(self) -> dict[str, str]:
        """Links in ``code``, which comes first on the import path, to what is watched in ``env``: place -> place.

        What is watched goes before what lies on PYTHONPATH; what is merely installed does not.
        """
        apart = {top for file in self.apart if (top := _top(file.path))}
        links = {}
        counted = dict(self._counted)
        for folder, place in self._whole:
            names = folder.all_names
            if folder.path != CODE and _top(folder.path) not in apart:
                names = names[:1]  # the link is the same for each
            counted |= {join(folder.path, name): join(place, name) for name in names}
        for path, place in counted.items():
            top = _top(path)
            if not top or not place.endswith(path.removeprefix(CODE)):
                continue
            if top in apart:  # a namespace, of which another part is no part of the environment
                links[path] = place
            else:
                links[top] = place.removesuffix(path.removeprefix(top))
        return links

    @staticmethod
    def _below(tops: Mapping[str, str], path: str) -> str | None:
        top = path
        while top not in tops:
            if top in ("/", ""):
                return None
            top = _parent(top) or "/"
        return tops[top] + path.removeprefix(top.rstrip("/")) if path != top else tops[top]


def _top(path: str) -> str:
    """``code/trap`` of what lies there; empty for what lies elsewhere."""
    return "/".join(path.split("/")[:2]) if path.startswith(f"{CODE}/") else ""


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
