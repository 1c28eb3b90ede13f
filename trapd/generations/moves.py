"""Where in a snapshot the copy of a file or folder lies that something on disk names by its own path. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trapd.content import Environment
from trapd.generations.manifest import CELERYCONFIG, CODE
from trapd.generations.mirror import home
from trapd.model import TreeFile

ENV = "env"


class Moves:
    """What of an installation is copied to where."""

    def __init__(self, environment: Environment, files: Iterable[TreeFile], roots: Iterable[str]) -> None:
        """``files``: what is copied by itself, as a look found it."""
        copies = {**environment.sites, **environment.parts}
        self._sites = {source: f"{ENV}/{place}" for place, source in copies.items()}
        self._roots = {root: home(root) for root in roots}
        self.digests: dict[str, str] = {}  # of files of the environment: source -> digest; empty: any content will do
        self.apart: list[TreeFile] = []  # files that the environment does not hold
        self._moved: dict[str, str] = {}
        self._counted: dict[str, str] = {}  # place in ``code`` that it would have by itself -> its place in ``env``
        for file in files:
            place = self._below(self._sites, file.source) if file.path != CELERYCONFIG else None
            if place is not None:
                self.digests[file.source] = file.digest
                self._counted[file.path] = place
                continue
            self.apart.append(file)
            if file.path != CELERYCONFIG:
                self._moved[file.source] = file.path
                self._moved.setdefault(_parent(file.source), _parent(file.path))

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
        for path, place in self._counted.items():
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
