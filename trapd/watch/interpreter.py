"""Asks the application's interpreter where it imports from, and what its celeryconfig says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trapd import environment as variables
from trapd import python_version
from trapd.errors import SettingsError
from trapd.masking import mask
from trapd.watch import hanging, probe

Trust = Callable[[Path, os.stat_result], None]  # raises SettingsError if strangers may write that file
_MARK = probe.MARK.encode()
_PATH_FILES = (".pth", ".egg-link")  # besides names, what these contain decides where imports come from
_METADATA = (".dist-info", ".egg-info")  # how names end that only a celeryconfig could ask for
_START_UP = ("sitecustomize.py", "usercustomize.py")
_REST = 10  # times the timeout: so long one that hung is not asked again while nothing changes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the interpreter said. With a ``problem`` no worker could start; what else is known is still there."""

    paths: tuple[str, ...] = ()  # import path, standard library left out
    identity: str = ""  # implementation, version, build and real prefix
    prefix: str = ""
    editable: Mapping[str, str] = field(default_factory=dict)  # import name -> folder or file without suffix
    eager: bool = False
    celeryconfig: str = ""  # digest of its content as it was before it was executed
    problem: str = ""
    version: str = ""  # for people: "3.11.2"
    standard: tuple[str, ...] = ()  # folders of its standard library, and the library that it is
    markers: Mapping[str, str] = field(default_factory=dict)  # of PEP 508: python_version and the like
    base_prefix: str = ""  # of the interpreter that a virtual environment was made with; without one: ``prefix``
    executable: str = ""  # as the interpreter names itself
    libraries: tuple[str, ...] = ()  # folders that installers put packages into
    place: str = ""  # below the prefix of a virtual environment, where its packages are
    shared: tuple[str, ...] = ()  # folders of packages outside the virtual environment; without one: all; real paths
    depends: bool = True  # what the celeryconfig says may depend on what is installed: it imports some of that


class Interpreter:
    """Remembers the last answer for as long as nothing that it depends on has changed."""

    def __init__(
        self,
        python: Path,
        celeryconfig: Path,
        *,
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
        trust: Trust = lambda file, status: None,
    ) -> None:
        """``timeout`` in seconds: a celeryconfig may import the application, and Trap takes half a minute.

        ``environment``: variables that workers have as well, on top of ours; PYTHONPATH among them is obeyed.
        """
        self.python, self.celeryconfig, self._timeout = python, celeryconfig, timeout
        self._environment, self._trust = dict(environment or {}), trust
        self._answer, self._key = Answer(), ""
        self._hung, self._rests_until = "", -math.inf  # where, if it is known; until when it is not asked again

    async def ask(self, *, again: bool = False, changed: bool = False) -> Answer:
        """The present answer; runs the interpreter (30 ms) only if need be. Never raises: see ``Answer.problem``.

        ``again``: nothing good came of the last answer. ``changed``: a file has changed since then. An interpreter that
        hung is not run again for a while if none did.
        """
        if distrust := await asyncio.to_thread(self._distrust):  # then it is not executed; what else is known stays
            self._answer = replace(self._answer, celeryconfig="", problem=distrust)
            return self._answer
        key = await asyncio.to_thread(self._present_key)
        # a failure may have come from half an upgrade, which the key does not show: it is never remembered
        if not changed and key == self._key and asyncio.get_running_loop().time() < self._rests_until:
            return self._answer
        if again or self._answer.problem or key != self._key:
            before = await asyncio.to_thread(self._digest)
            self._answer = await self._run(before)
            self._key = await asyncio.to_thread(self._present_key)
            if before != await asyncio.to_thread(self._digest):
                self._key = ""  # edited while it was executed: ask again at the next look
        return self._answer

    def _distrust(self) -> str:
        try:
            self._trust(self.celeryconfig, self.celeryconfig.stat())
        except SettingsError as error:
            return str(error)
        except OSError:  # the interpreter will meet the same error, and say so
            return ""
        return ""

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self.celeryconfig.read_bytes()).hexdigest()
        except OSError:
            return ""  # the interpreter will meet the same error, and say so

    def _present_key(self) -> str:
        seen: list[object] = [self._digest(), _stamp(self.python), _stamp(self.python.parent.parent / "pyvenv.cfg")]
        if self._hung:
            seen.append(_stamp(Path(self._hung.partition(":")[0])))
        for path in self._answer.paths:
            try:
                listed = sorted((e.name, _stamp(e) if _decides(e) else None) for e in Path(path).iterdir())
            except OSError:
                listed = []
            seen.append((os.path.realpath(path), [e for e in listed if self._answer.depends or not _describes(e[0])]))
        return repr(seen)

    async def _run(self, digest: str) -> Answer:
        # -P, as on the worker's own command line, and not -I: so both see the same import path
        command = [str(self.python), "-P", "-B", *hanging.OPTIONS, probe.__file__, str(self.celeryconfig)]
        try:
            with hanging.LastWords() as words:
                return await self._run_with(command, words, digest)
        except OSError as error:
            return Answer(problem=f"cannot run {self.python}: {(error.strerror or str(error)).lower()}")

    async def _run_with(self, command: Sequence[str], words: hanging.LastWords, digest: str) -> Answer:
        self._hung, self._rests_until = "", -math.inf
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=words.file,
            env=variables.inherited(os.environ) | self._environment,
            limit=2**20,  # bytes of one line: an editable install may map thousands of names
            start_new_session=True,  # so that what a hanging celeryconfig started ends with it
        )
        lines: list[bytes] = []
        try:
            assert process.stdout is not None
            with contextlib.suppress(ValueError):  # a line beyond the limit
                async with asyncio.timeout(self._timeout):
                    while len(lines) < 2:
                        line = await process.stdout.readline()
                        if not line or line.startswith(_MARK):
                            lines.append(line.removeprefix(_MARK))
        except TimeoutError:
            self._hung = await words.place(process, ours=(probe.__file__,))
            self._rests_until = asyncio.get_running_loop().time() + _REST * self._timeout
            if not lines:
                return self._does_not_start()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        answer = self._read(lines, digest)
        if not answer.identity and (reason := await asyncio.to_thread(python_version.too_old, str(self.python))):
            remedy = "make the application's virtual environment with a newer Python"
            return Answer(problem=f"cannot run workers on {self.python}: {reason}; {remedy}")
        return answer

    def _does_not_start(self) -> Answer:
        """What else was known stays: then a repair is heard."""
        where = self._hung or "a start-up file (sitecustomize, or a line of a .pth file)"
        why = f"{where} had not come to its end after {self._timeout:g} s, and each start of this Python executes it"
        problem = f"cannot ask {self.python} for its import path: {why}; correct or remove that file"
        return replace(self._answer, celeryconfig="", problem=problem)

    def _read(self, lines: list[bytes], digest: str) -> Answer:
        where, config = ([_object(line) for line in lines] + [None, None])[:2]
        if where is None:
            return Answer(problem=f"cannot ask {self.python} for its import path; is it a Python?")
        if config is None:
            ended = len(lines) == 2
            how = "the interpreter ended" if ended else f"it had not come to its end after {self._timeout:g} s"
            problem = f"cannot load {self._hung or self.celeryconfig}: {how}"
        elif "error" in config:
            problem = f"cannot load {config['at']}: {mask(config['error'])}"
        else:
            problem = ""
        return Answer(
            paths=tuple(where["paths"]),
            identity=where["identity"],
            version=where["version"],
            standard=tuple(where["standard"]),
            prefix=where["prefix"],
            base_prefix=where.get("base_prefix", ""),
            executable=where.get("executable", ""),
            libraries=tuple(where.get("libraries", ())),
            place=where.get("place", ""),
            shared=tuple(where.get("shared", ())),
            editable=where["editable"],
            markers=where.get("markers", {}),
            eager=bool(config and config.get("eager")),
            depends=bool(config is None or config.get("depends", True)),
            celeryconfig=digest,
            problem=problem,
        )


def _object(line: bytes) -> dict[str, Any] | None:
    """None for a line that never came, or was cut short: the interpreter may end at any moment."""
    with contextlib.suppress(ValueError):
        found: dict[str, Any] = json.loads(line)
        return found
    return None


def _describes(name: str) -> bool:
    """Whether it is metadata, or what pip has put aside."""
    return name.startswith("~") or name.endswith(_METADATA)


def _decides(path: Path) -> bool:
    """Whether its content decides where imports come from, or whether the interpreter starts."""
    return path.suffix in _PATH_FILES or path.name in _START_UP


def _stamp(path: Path) -> object:
    try:
        found = path.stat()  # follows links: a release link that is swapped shows
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
