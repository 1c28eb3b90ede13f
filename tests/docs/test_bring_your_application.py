"""docs/applications.md: its configurations are those that tests/applications runs, the files that it shows are files of
the projects there, and its migrations say the same before and after.
"""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.applications import catalogue, runs
from trapd import settings

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/applications.md"
PROJECTS = ROOT / "tests/applications/projects"
RUN = [one for one in catalogue.APPLICATIONS if one.name in DOCUMENT.read_text()]
# Option of `celery worker` -> key of a pool
OPTIONS: Mapping[str, str] = {
    "-Q": "queues",
    "-c": "concurrency",
    "--concurrency": "concurrency",
    "-P": "celery_pool",
    "--max-tasks-per-child": "max_tasks_per_child",
    "--prefetch-multiplier": "prefetch_multiplier",
    "--time-limit": "time_limit",
    "-O": "optimization",
    "-l": "loglevel",
}
ELSEWHERE = {"-s"}  # said in the document's words


def blocks(language: str) -> dict[str, str]:
    """Fenced blocks of that language by their first line, without the mark of a comment."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return {text.partition("\n")[0].lstrip("# "): text for text in found}


@pytest.mark.parametrize("application", RUN, ids=lambda one: one.name)
def test_an_application_is_configured_as_its_test_does(application: catalogue.Application) -> None:
    told = tomllib.loads(blocks("toml")[application.name])
    folder = Path(told["pools"]["default"].get("environment", {}).get("PYTHONPATH", "/srv/elsewhere"))
    place = runs.Place(application, Path(told["app"]["python"]), folder, "", "")
    tested = runs.tables(place)
    environment: Any = tested["pools.default"]["environment"]
    kept = {name: value for name, value in environment.items() if name not in application.environment}
    assert told["pools"].get("beat") == tested.get("pools.beat")
    assert told["app"] == tested["app"]
    assert told["watch"]["distributions"] == tested["watch"]["distributions"]
    assert {"environment": {}, **told["pools"]["default"]} == {**tested["pools.default"], "environment": kept}


def test_most_of_the_applications_that_are_run_are_in_the_document() -> None:
    assert {"django_shop", "flask_notes", "dict_dispatch", "uv_fleet", "gevent_crawl"} <= {one.name for one in RUN}


def test_python_files_shown_are_files_of_the_projects() -> None:
    shown = blocks("python")
    projects = {name: text for name, text in shown.items() if name != "celeryconfig.py"}
    assert set(projects) == {"shop/celery.py", "make_celery.py"}
    for name, text in projects.items():
        (file,) = PROJECTS.glob(f"*/{name}")
        assert text.partition("\n")[2] in file.read_text()
    names: dict[str, str] = {}
    exec(shown["celeryconfig.py"], names)
    assert {name for name in names if name[0] != "_"} == {"broker_url", "result_backend"}  # as in the tests


# --- migrations -----------------------------------------------------------------------------------------------------


def pools(block: str, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The pools of a block of TOML that trapd accepts."""
    file = tmp_path / "trapd.toml"
    file.write_text(blocks("toml")[block])
    assert settings.load(file).pools
    return dict(tomllib.loads(file.read_text())["pools"])


def told_to_celery(command: str) -> dict[str, object]:
    """The keys of a pool that say what these options of `celery worker` say."""
    words, keys = iter(word for part in shlex.split(command) for word in part.split("=", 1)), {}
    for word in words:
        if word in OPTIONS:
            keys[OPTIONS[word]] = read(OPTIONS[word], next(words))
        elif word.startswith("-"):
            assert word in ELSEWHERE, f"{word} is not translated"
            next(words)
    return keys


def read(key: str, word: str) -> object:
    if key == "queues":
        return word.split(",")
    if key == "time_limit":
        return f"{word}s"
    return int(word) if word.isdecimal() else word


def test_the_supervisord_file_and_its_translation_say_the_same(tmp_path: Path) -> None:
    before = configparser.ConfigParser(interpolation=None)
    before.read_string(blocks("ini")["[program:worker]"])
    after = pools("supervisord", tmp_path)
    assert {f"program:{name}" for name in after} == set(before.sections())
    for name, pool in after.items():
        program = before[f"program:{name}"]
        command = program["command"].removeprefix("/opt/shop/bin/celery -A shop worker ")
        assert told_to_celery(command) == options(pool)
        assert pool.get("workers", 1) == program.getint("numprocs", 1)
        mode = re.findall(r'(\w+)="(.*?)"', program["environment"])
        assert pool["environment"] == {"PYTHONPATH": program["directory"], **dict(mode)}
        assert pool.get("rollout", {}) == rollout(program)


def rollout(program: configparser.SectionProxy) -> dict[str, str]:
    names = {"startsecs": "min_ready", "stopwaitsecs": "drain_timeout"}
    return {key: f"{program[name]}s" for name, key in names.items() if name in program}


def test_the_file_of_celery_multi_and_its_translation_say_the_same(tmp_path: Path) -> None:
    text = blocks("sh")['CELERYD_NODES="w1 w2 w3"']
    before = dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
    (pool,) = pools("multi", tmp_path).values()
    assert pool["workers"] == len(before["CELERYD_NODES"].split())
    assert told_to_celery(before["CELERYD_OPTS"]) == options(pool)


def test_the_units_and_their_translation_say_the_same(tmp_path: Path) -> None:
    for name, pool in pools("units", tmp_path).items():
        unit = section(blocks("ini")[f"shop-{name}.service"])
        run, _, command = unit["ExecStart"].removeprefix("/opt/shop/bin/celery -A shop ").partition(" ")
        assert pool.get("run", "worker") == run
        assert told_to_celery(command) == options(pool)
        assert pool["environment_file"] == unit["EnvironmentFile"]
        more = dict([unit["Environment"].split("=", 1)] if "Environment" in unit else [])
        assert pool["environment"] == {"PYTHONPATH": unit["WorkingDirectory"], **more}
        assert pool.get("rollout", {}).get("drain_timeout", "s") == unit.get("TimeoutStopSec", "") + "s"
        for setting in {"MemoryMax", "Nice"} & set(unit):
            assert str(pool["systemd"][setting]) == unit[setting]


def section(unit: str) -> dict[str, str]:
    """The settings of a unit file, which has one section."""
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)


def options(pool: Mapping[str, object]) -> dict[str, object]:
    """What a pool says that `celery worker` is told by options."""
    return {key: value for key, value in pool.items() if key in OPTIONS.values()}
