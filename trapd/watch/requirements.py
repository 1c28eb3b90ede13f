"""Whether each distribution that is required is there, in a version that will do.

Nothing else shows that a pip was killed between two packages: each of them is whole, and they do not fit each other.
Markers and specifiers are the business of the library ``packaging``, which would cost the daemon 5.7 MB. So a process
that lives for a moment has it, and is run only when a version or a requirement changed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trapd.watch.sites import Site, normalise, read_metadata, required

log = logging.getLogger("trapd.watch")
_SCRIPT = Path(__file__).with_name("specifiers.py")
_PATIENCE = 30.0  # seconds; it takes 0.1


@dataclass(frozen=True, slots=True)
class Requirements:
    """``satisfied``: "held requires depa". ``unsatisfied``: a sentence of each under such a key."""

    satisfied: tuple[str, ...] = ()
    unsatisfied: Mapping[str, str] = field(default_factory=dict)


class Requirer:
    """Asks about the requirements of some distributions; remembers the last answer."""

    def __init__(self) -> None:
        self._asked, self._answer = "", Requirements()
        self._begun: subprocess.Popen[bytes] | None = None  # waits for its question

    def expect(self) -> None:
        """A question will probably come soon: begin the process that answers it, half of whose time is to begin."""
        if self._begun is None:
            with contextlib.suppress(OSError):  # whoever asks is told why
                self._begun = _begin()

    def rest(self) -> None:
        """No question will come for the time being."""
        if begun := self._begun:
            self._begun = None
            _end(begun)

    def ask(self, sites: list[Site], roots: Collection[str], markers: Mapping[str, str]) -> Requirements | None:
        """``markers``: those of the application's interpreter, as PEP 508 names them. None if nobody can tell; that is
        logged."""
        question = _question(sites, roots, markers)
        if question != self._asked:
            answer = _run(question, self._take_begun())
            if answer is None:
                return None
            self._asked, self._answer = question, answer
        return self._answer

    def _take_begun(self) -> subprocess.Popen[bytes] | None:
        begun, self._begun = self._begun, None
        if begun is not None and begun.poll() is not None:  # killed, while it waited
            begun.communicate()
            return None
        return begun


def _question(sites: list[Site], roots: Collection[str], markers: Mapping[str, str]) -> str:
    distributions = {}
    for name, where in required(sites, roots).items():
        if where is not None:
            metadata = read_metadata(where[0].path / where[1])
            distributions[name] = {"version": metadata.version, "requires": metadata.requires_dist}
    names = sorted(normalise(name) for name in roots)
    return json.dumps({"markers": dict(markers), "roots": names, "distributions": distributions}, sort_keys=True)


def _begin() -> subprocess.Popen[bytes]:
    # -I: of the folder that the script is in, and of our variables, nothing is meant for it
    command, pipe = [sys.executable, "-I", str(_SCRIPT)], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _run(question: str, begun: subprocess.Popen[bytes] | None) -> Requirements | None:
    """``begun``: a process that waits for a question."""
    last = ""
    try:
        process = begun or _begin()
        try:
            said, complaint = process.communicate(question.encode(), _PATIENCE)
        except subprocess.TimeoutExpired:
            _end(process)
            raise
        last = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        answer = json.loads(said)
        return Requirements(tuple(answer["satisfied"]), answer["unsatisfied"])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("cannot tell whether requirements are satisfied: %s", last or error)
        return None
