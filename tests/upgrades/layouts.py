"""How an application is laid out on a machine and found by Python: a stage for each layout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support import environments
from tests.support.sample import CELERY, NAME, good
from tests.support.wheels import write_wheel
from tests.upgrades.stage import Stage, run

UV = str(Path(sys.executable).with_name("uv"))


class Environment(Stage):
    """The application is a distribution in a virtual environment."""

    # so long that a look which has not to wait for it comes before it is over, on a busy machine too
    watch: Mapping[str, object] = {"quiet_period": "5s"}

    def lay_out(self) -> None:
        environments.copy(self.kept, self.venv, CELERY)
        self.pip("install", *self.offline("1.0"))

    @property
    def site(self) -> Path:
        return next(self.venv.glob("lib/python3*/site-packages"))

    def wheel(self, version: str) -> Path:
        return write_wheel(self.home / "wheels", NAME, version, good(version))

    def offline(self, version: str) -> list[str]:
        """Arguments of pip and uv that install this version, without a network."""
        return ["--no-index", "--no-deps", str(self.wheel(version))]

    def all_offline(self, version: str) -> list[str]:
        """The same with all that the application needs."""
        wheels = environments.wheelhouse(self.kept, CELERY)
        return ["--no-index", f"--find-links={wheels}", str(self.wheel(version)), CELERY]

    def pip(self, *arguments: str, version: str = "") -> None:
        """Run the environment's own pip, or the one that a requirement such as ``pip==20.3.4`` names."""
        more = {"PYTHONPATH": str(environments.tool(self.kept, version))} if version else {}
        run(str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments, cwd=self.home, **more)

    def uv(self, *arguments: str) -> None:
        """Run uv, without what it has stored for others."""
        own = {"UV_CACHE_DIR": str(self.home / "uv"), "VIRTUAL_ENV": str(self.venv), "UV_OFFLINE": "1"}
        run(UV, *arguments, cwd=self.home, **own)


class Folder(Stage):
    """The application is a project's folder on PYTHONPATH, of which no tool knows; a work tree of git to begin with."""

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def origin(self) -> Path:
        """A work tree in which versions are made."""
        return self.home / "origin"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self.project)}

    def lay_out(self) -> None:
        environments.copy(self.kept, self.venv, CELERY)
        self.origin.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", folder=self.origin)
        self.commit("1.0")
        self.git("clone", "--quiet", str(self.origin), str(self.project), folder=self.home)

    def commit(self, version: str) -> None:
        """The version is a commit, and a tag, of the origin."""
        write(self.origin, version)
        self.git("add", "--all", folder=self.origin)
        self.git("commit", "--quiet", "--message", version, folder=self.origin)
        self.git("tag", f"v{version}", folder=self.origin)

    def git(self, *arguments: str, folder: Path | None = None) -> None:
        """Run git in the project, or in another folder."""
        person = {"NAME": "tests", "EMAIL": "tests@localhost"}
        own = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
        run("git", *arguments, cwd=folder or self.project, GIT_CONFIG_GLOBAL="/dev/null", **own)

    def head(self) -> str:
        if not (self.project / ".git").exists():
            return "none"
        head = ["git", "rev-parse", "--short=8", "HEAD"]
        return subprocess.run(head, cwd=self.project, capture_output=True, text=True, check=True).stdout.strip()

    def written(self, version: str) -> Path:
        """A folder outside of the project with the files of this version."""
        return write(self.home / "built" / version, version)


class Editable(Folder):
    """The same work tree, installed by ``pip install --editable``."""

    @property
    def variables(self) -> Mapping[str, str]:
        return {}

    def lay_out(self) -> None:
        super().lay_out()
        self.editable()

    def editable(self) -> None:
        """Run pip. The project brings its build backend, so that none has to be downloaded."""
        path_file = {f"__editable__.{NAME}.pth": f"{self.project}\n"}
        wheel = write_wheel(self.home / "wheels", NAME, "1.0", path_file)
        backend = [
            "import shutil",
            "def build_editable(directory, config_settings=None, metadata_directory=None):",
            f"    return shutil.copy({str(wheel)!r}, directory).rpartition('/')[2]",
        ]
        (self.project / "backend.py").write_text("\n".join(backend) + "\n")
        (self.project / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            f'[project]\nname = "{NAME}"\nversion = "1.0"\n'
        )
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
        run(*pip, "--editable", str(self.project), cwd=self.home)


class Pipx(Environment):
    """The application is in an environment that pipx has made for it."""

    @property
    def python(self) -> Path:
        return self.home / "pipx/venvs" / NAME / "bin/python"

    def lay_out(self) -> None:
        self.pipx("install", "1.0")

    def pipx(self, verb: str, *options_and_version: str) -> None:
        """pipx's verb, with options, on a wheel of the version, which comes last."""
        *options, version = options_and_version
        wheel = write_wheel(self.home / "wheels", NAME, version, _with_program(version), requires=[CELERY])
        wheels = environments.wheelhouse(self.kept, CELERY, "pip")  # pipx brings the pip of its environments up to date
        own = {"PIPX_HOME": str(self.home / "pipx"), "PIPX_BIN_DIR": str(self.home / "bin")}
        own["PYTHONPATH"] = str(environments.tool(self.kept, "pipx"))
        offline = f"--pip-args=--no-index --find-links={wheels}"
        command = [sys.executable, "-m", "pipx", verb, "--backend=pip", offline, *options, str(wheel)]
        run(*command, cwd=self.home, **own)


class Poetry(Folder):
    """The application is a project of Poetry, which has installed it from its work tree."""

    @property
    def variables(self) -> Mapping[str, str]:
        return {}

    def lay_out(self) -> None:
        super().lay_out()
        self.poetry("install")

    def commit(self, version: str) -> None:
        text = f'[project]\nname = "{NAME}"\nversion = "{version}"\n'
        backend = '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
        (self.origin / "pyproject.toml").write_text(text + backend)
        self.poetry("lock", folder=self.origin)
        super().commit(version)

    def poetry(self, verb: str, folder: Path | None = None) -> None:
        own = {"PYTHONPATH": str(environments.tool(self.kept, "poetry")), "VIRTUAL_ENV": str(self.venv)}
        own["PATH"] = f"{self.venv}/bin:{os.environ['PATH']}"
        own["POETRY_CACHE_DIR"] = str(self.home / "poetry")
        command = [sys.executable, "-m", "poetry", "--no-interaction", verb]
        run(*command, cwd=folder or self.project, **own)


class Release(Environment):
    """Each version is a virtual environment of its own; the link ``current`` says which one serves."""

    @property
    def python(self) -> Path:
        return self.home / "current/bin/python"

    def lay_out(self) -> None:
        (self.home / "releases").mkdir()
        (self.home / "current").symlink_to(self.release("1.0"))

    def release(self, version: str) -> Path:
        folder = self.home / "releases" / version
        environments.copy(self.kept, folder, CELERY)
        run(str(folder / "bin/python"), "-m", "pip", "install", *self.offline(version), cwd=self.home)
        return folder


class ReleasedFolder(Folder):
    """Each version is a folder of its own, as Capistrano lays them out; the link ``current`` says which one serves."""

    @property
    def variables(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self.home / "current")}

    def lay_out(self) -> None:
        environments.copy(self.kept, self.venv, CELERY)
        (self.home / "current").symlink_to(self.release("1.0"))

    def release(self, version: str) -> Path:
        return write(self.home / "releases" / version, version)


def _with_program(version: str) -> dict[str, str]:
    """pipx installs only what has a program."""
    return {
        **good(version),
        f"{NAME}-{version}.dist-info/entry_points.txt": f"[console_scripts]\n{NAME} = {NAME}:print\n",
    }


def write(folder: Path, version: str) -> Path:
    """Write the files of this version into the folder."""
    for name, text in good(version).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
