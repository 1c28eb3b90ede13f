"""One run of trapctl: the trapd that it asks, and its output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trapd.control.methods import Answer, Question
from trapd.control.protocol import SCHEMA
from trapd.ctl.client import LOOKING, Client
from trapd.ctl.silence import Silence
from trapd.errors import SettingsError
from trapd.layout import CONFIGURATION, RUNTIME_DIRECTORY, Runtime

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.absent import Hints
    from trapd.ctl.render import Bars, Lines, Screen
    from trapd.settings import Settings

_Document = TypeVar("_Document", bound="Mapping[str, object]")


@dataclass
class Session:
    """``as_json``: print the answer as one JSON document on standard output, and nothing else there."""

    config: str | None
    socket_option: Path | None
    environ: Mapping[str, str]
    as_json: bool = False

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsError."""
        from trapd.settings import find, load  # not needed with --socket

        return load(find(self.config, self.environ))

    @cached_property
    def socket(self) -> Path:
        """trapd's control socket. Raises SettingsError if only the configuration names it and cannot be used."""
        if self.socket_option:
            return self.socket_option
        try:
            return Runtime(self.settings.runtime_directory).control
        except SettingsError as error:
            usual = self._usual_socket()
            if usual is None:
                raise
            # with a broken configuration administrators need the state of trapd most
            self.complain(f"{error}; asking the trapd that runs all the same", 0)
            return usual

    def _usual_socket(self) -> Path | None:
        """Return the socket of a trapd that was started with this configuration while it was sound, if there is one:
        in the folder that the file names as it is, or in the default folder."""
        from trapd.settings import find
        from trapd.settings.document import folder_named

        file = find(self.config, self.environ)
        if not file.exists() and file != CONFIGURATION:  # a typo, more likely than a trapd whose file was removed
            return None
        usual = Runtime(folder_named(file, "runtime_directory") or RUNTIME_DIRECTORY).control
        return usual if usual.exists() else None

    @cached_property
    def screen(self) -> Screen:
        from trapd.ctl.render import Screen

        return Screen()

    def client(self) -> Client:
        return Client(self.socket, None if self.socket_option else self._hints())

    def _hints(self) -> Hints | None:
        from trapd.ctl.absent import hints

        try:
            return hints(self.settings)
        except SettingsError:  # the socket is the usual one, and the file was complained about
            return None

    def ask(self, question: Question[Answer], *, patience: float = LOOKING) -> Answer:
        """Send one command on a connection of its own, and return the answer."""
        with self.client() as client:
            return client.ask(question, patience=patience)

    def answer(self, document: _Document, show: Callable[[Screen, _Document], None]) -> None:
        """Print the document as JSON, or with ``show`` for users."""
        if self.as_json:
            self.print_json(document)
        else:
            show(self.screen, document)

    def print_json(self, document: Mapping[str, object]) -> None:
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
        sys.stdout.flush()

    def complain(self, message: str, status: int) -> None:
        """Print an error on standard error; with --json and a ``status`` print it as the JSON document, too."""
        from trapd.masking import mask

        text = "".join(char if char.isprintable() or char == "\n" else " " for char in mask(message))
        print(f"trapctl: {text}", file=sys.stderr)
        if self.as_json and status:
            problem: documents.Problem = {
                "schema": SCHEMA,
                "error": {"exit": int(status), "message": mask(message)},
            }
            self.print_json(problem)

    def note(self, text: str) -> None:
        """Print what users should know beside the answer, on standard error."""
        print(f"trapctl: {text}", file=sys.stderr)

    def progress(self) -> Bars | Lines | Silence:
        """Return the object that shows the progress of a wait."""
        if self.as_json:
            return Silence()
        from trapd.ctl.render import Bars, Lines

        return Bars(self.screen) if self.screen.terminal else Lines(self.screen)
