"""Installers at work, known by their processes and by uv's lock."""

from __future__ import annotations

import base64
import fcntl
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from trapd.watch.at_work import at_work


@dataclass
class Processes:
    """A proc(5) with one process in it, and a virtual environment."""

    home: Path

    @property
    def venv(self) -> Path:
        return self.home / "venv"

    def run(self, command: str, *, environment: str = "", cwd: str = "/") -> None:
        process = self.home / "proc/4711"
        for folder in (self.venv / "bin", process, self.home / "proc/self", self.home / "elsewhere"):
            folder.mkdir(parents=True, exist_ok=True)
        (process / "cmdline").write_text("".join(f"{word}\0" for word in self._filled(command).split()))
        (process / "environ").write_text("".join(f"{word}\0" for word in self._filled(environment).split()))
        (process / "cwd").unlink(missing_ok=True)
        (process / "cwd").symlink_to(self._filled(cwd))

    def _filled(self, text: str) -> str:
        return text.format(venv=self.venv, home=self.home)

    def at_work(self, prefix: Path | None = None, *, of_system: bool = False) -> list[str]:
        found = at_work(str(prefix or self.venv), self.home / "proc", of_system=of_system)
        return [installer.why for installer in found]


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


@pytest.mark.parametrize(
    ("command", "environment", "tool"),
    [
        ("uv pip install --python {venv}/bin/python numpy", "", "uv"),
        ("uv pip install -p {venv} numpy", "", "uv"),
        ("/usr/bin/uv pip sync --python={venv} requirements.txt", "", "uv"),
        ("/usr/bin/uv --quiet pip uninstall numpy", "VIRTUAL_ENV={venv}", "uv"),
        ("uv sync", "UV_PROJECT_ENVIRONMENT={venv}", "uv"),
        ("/usr/bin/python3 -m uv pip install numpy", "LANG=C VIRTUAL_ENV={venv}", "uv"),
        ("uv pip list --python {venv}", "", ""),
        ("uv pip install --python /elsewhere/bin/python numpy", "", ""),
        ("uv run celery install", "VIRTUAL_ENV={venv}", ""),
        ("/usr/bin/python3 /usr/bin/poetry install --no-root", "VIRTUAL_ENV={venv}", "poetry"),
        ("/opt/poetry/bin/python /opt/poetry/bin/poetry update numpy", "VIRTUAL_ENV={venv}", "poetry"),
        ("/usr/bin/python3 /usr/bin/poetry run celery install", "VIRTUAL_ENV={venv}", ""),
        ("/opt/conda/bin/python /opt/conda/bin/conda install -y -p {venv} numpy", "", "conda"),
        ("/opt/conda/bin/python /opt/conda/bin/mamba update numpy", "CONDA_PREFIX={venv}", "conda"),
        ("micromamba install -n other numpy", "CONDA_PREFIX={venv}", ""),
        ("dnf install python3-numpy", "", ""),
        ("vi install", "VIRTUAL_ENV={venv}", ""),
    ],
)
def test_an_installer_at_work_on_this_environment(
    processes: Processes, command: str, environment: str, tool: str
) -> None:
    processes.run(command, environment=environment)
    assert processes.at_work() == ([f"{tool} is running (process 4711)"] if tool else [])


def test_an_installer_finds_the_environment_of_the_project_that_it_runs_in(processes: Processes) -> None:
    project = processes.home / "project"
    (project / "docs").mkdir(parents=True)
    (project / ".venv").symlink_to(processes.venv)
    processes.run("uv sync", cwd=f"{project}/docs")
    assert processes.at_work() == ["uv is running (process 4711)"]
    processes.run("uv sync", cwd="{home}/elsewhere")
    assert processes.at_work() == []


def test_poetry_names_an_environment_of_its_own_after_the_projects_folder(processes: Processes) -> None:
    project = processes.home / "project"
    project.mkdir()
    mark = base64.urlsafe_b64encode(hashlib.sha256(str(project).encode()).digest()).decode()[:8]
    processes.run("/usr/bin/python3 /usr/bin/poetry install", cwd=str(project))
    assert processes.at_work(processes.home / f"virtualenvs/trap-{mark}-py3.11") == ["poetry is running (process 4711)"]
    assert processes.at_work(processes.home / "virtualenvs/trap-AAAAAAAA-py3.11") == []


def test_conda_names_an_environment_by_its_folder(processes: Processes) -> None:
    processes.run("/opt/conda/bin/python /opt/conda/bin/conda env update -n trap")
    assert processes.at_work(Path("/opt/conda/envs/trap")) == ["conda is running (process 4711)"]
    assert processes.at_work(Path("/opt/conda/envs/other")) == []


@pytest.mark.parametrize("name", ["dnf", "/usr/bin/python3 /usr/bin/dnf-3", "yum", "dnf5"])
def test_dnf_works_on_the_environment_of_the_system(processes: Processes, name: str) -> None:
    processes.run(f"{name} -y upgrade python3-numpy")
    assert processes.at_work(of_system=True) == ["dnf is running (process 4711)"]
    processes.run(f"{name} list")
    assert processes.at_work(of_system=True) == []


def test_uv_locks_the_environment_that_it_changes(tmp_path: Path) -> None:
    """Whatever its command line, and whether or not trapd may read its variables. Seen with uv 0.13."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "proc").mkdir()
    lock = tmp_path / ".lock"
    lock.touch()

    def held() -> list[str]:
        found = at_work(str(tmp_path), Path("/proc"), of_system=False)
        return [installer.why for installer in found if ".lock" in installer.why]

    assert held() == []
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert len(held()) == 1
    assert held() == []
