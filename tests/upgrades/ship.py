"""A distribution and the library that it requires, of which a part is imported late: what is missing, or is of another
version, shows. Its trapd is impatient, so that the rows are short."""

from __future__ import annotations

import random
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import environments, last_acts
from tests.support.sample import CELERY, NAME, good
from tests.support.site_packages import install
from tests.support.wheels import write_wheel
from tests.upgrades.layouts import Environment
from tests.upgrades.stage import run

LIBRARY = "keel"
MODULES = 20


def library(version: str) -> dict[str, str]:
    """The files of the library."""
    text = f"VERSION = {version!r}\n" + "def f(x):\n    return [x, x + 1]\n\n\n" * 5
    return {f"{LIBRARY}/__init__.py": text, **{f"{LIBRARY}/m{number}.py": text for number in range(MODULES)}}


def application(version: str) -> dict[str, str]:
    """The files of the application: its package imports the library at once, and its late module a part of that."""
    files = good(version)
    files["shipyard/__init__.py"] += "import keel\n"
    files["shipyard/hull.py"] += "\nfrom keel import m0 as deck\n"
    return files


class Ship(Environment):
    """The application and its library, in a virtual environment."""

    workers = 1
    changes = 0  # that pip makes when it installs both; 0: not counted yet
    watch: Mapping[str, object] = {
        "snapshot": "environment",
        "quiet_period": "500ms",
        "ceiling": "1500ms",
        "look": "3s",
    }
    rollout: Mapping[str, object] = {"min_ready": "0s", "progress_deadline": "15s"}

    def lay_out(self) -> None:
        environments.copy(self.kept, self.venv, CELERY)
        self.put("1.0")

    def put(self, version: str) -> None:
        """Both in this version, at once and whole; the application requires the library in the same version."""
        self.clear()
        install(self.site, LIBRARY, version, library(version))
        install(self.site, NAME, version, application(version), requires=[f"{LIBRARY}=={version}"])

    def put_application(self, version: str, files: Mapping[str, str]) -> None:
        """The application in this version, with these files, beside the library as it serves."""
        install(self.site, LIBRARY, self.version, library(self.version))
        install(self.site, NAME, version, files, requires=[LIBRARY])

    def offline(self, version: str) -> list[str]:
        """Arguments of pip that install both."""
        folder = self.home / "wheels"
        write_wheel(folder, LIBRARY, version, library(version))
        write_wheel(folder, NAME, version, application(version), requires=[f"{LIBRARY}=={version}"])
        return ["--no-index", "--find-links", str(folder), f"{NAME}=={version}", f"{LIBRARY}=={version}"]

    def run_pip(self, *arguments: str) -> None:
        """Run the environment's own pip."""
        self.run_pips(arguments)

    def run_pips(self, *runs: Sequence[str]) -> None:
        """Run it once for each of these arguments, in a script: the next one begins within milliseconds."""
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check"]
        run("sh", "-c", " && ".join(shlex.join([*pip, *arguments]) for arguments in runs), cwd=self.home)

    def repair(self, version: str) -> None:
        """Remove what a killed pip has left, and let another one install both."""
        self.clear()
        self.run_pip("install", *self.offline(version))

    def clear(self) -> None:
        """Away with both, and with what pip has put aside."""
        for pattern in ("~*", f"{LIBRARY}*", f"{NAME}*"):
            for path in self.site.glob(pattern):
                shutil.rmtree(path)

    def info(self, name: str) -> Path:
        """The metadata of a distribution."""
        return next(self.site.glob(f"{name}-*.dist-info"))

    # -- half of it ------------------------------------------------------------------------------------------------

    def kill_pip(self, version: str, chance: random.Random) -> None:
        """Install both by a pip that is killed at some moment."""
        arguments = ["install", "--force-reinstall", *self.offline(version)]
        if not self.changes:
            kept = self.home / "counted"
            environments.copy(self.kept, kept, CELERY)
            site = next(kept.glob("lib/python3*/site-packages"))
            for files, name in ((library(self.version), LIBRARY), (application(self.version), NAME)):
                install(site, name, self.version, files)
            self.changes = last_acts.pip(kept / "bin/python", arguments, below=site, last=last_acts.COUNT)
        last_acts.pip(self.python, arguments, below=self.site, last=chance.randint(1, self.changes))

    def flaw(self) -> str:
        """Why a worker should not run on what is installed; empty if both are whole and fit each other."""
        versions = set()
        for name, files in ((LIBRARY, library("0")), (NAME, application("0"))):
            infos = [*self.site.glob(f"{name}-*.dist-info")]
            if len(infos) != 1:
                return f"{name}: {infos}"
            version = infos[0].name.removeprefix(f"{name}-").removesuffix(".dist-info")
            right = library(version) if name == LIBRARY else application(version)
            wrong = [file for file in files if not _has(self.site / file, right[file])]
            if wrong:
                return f"{name} {version}: {wrong}"
            versions.add(version)
        return "" if len(versions) == 1 else f"{sorted(versions)}"

    def installed(self) -> str:
        """The version of the application."""
        return self.info(NAME).name.removeprefix(f"{NAME}-").removesuffix(".dist-info")


def _has(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text() == text
