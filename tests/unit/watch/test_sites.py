"""What lies on the import path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site_packages import install
from trapd.watch.sites import Metadata, Requirement, closure, find, is_stash_of, normalise, read_metadata, scan


def test_names_of_distributions_are_compared_as_pip_does() -> None:
    assert normalise("Radio_PySE") == normalise("radio.pyse") == normalise("radio--pyse") == "radio-pyse"


def test_metadata_is_found_by_name_whatever_its_form(tmp_path: Path) -> None:
    for name in ("Radio_PySE-0.7.1.dist-info", "trap-1.3.0-py3.11.egg-info", "mine.egg-info", "~umpy-2.0.dist-info"):
        (tmp_path / name).mkdir()
    [site] = scan([str(tmp_path)])
    assert site.metadata == {
        "radio-pyse": ["Radio_PySE-0.7.1.dist-info"],
        "trap": ["trap-1.3.0-py3.11.egg-info"],
        "mine": ["mine.egg-info"],
    }
    assert site.stashes == ("~umpy-2.0.dist-info",)


def test_the_first_folder_of_the_import_path_wins(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / f"trap-{name}.dist-info").mkdir(parents=True)
        (tmp_path / name / f"trap-1.{ord(name)}.dist-info").mkdir()
    found = find(scan([str(tmp_path / "absent"), str(tmp_path / "b"), str(tmp_path / "a")]), "trap")
    assert found is not None
    assert found[0].path == tmp_path / "b"


def test_a_folder_that_is_on_the_path_twice_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert len(scan([str(tmp_path), str(tmp_path / "link")])) == 1


@pytest.mark.parametrize(
    ("stash", "name", "expected"),
    [
        ("~rap", "trap", True),
        ("~-ap", "trap", True),
        ("~rap-1.3.0.dist-info", "trap", True),
        ("~adio_pyse-0.7.1.dist-info", "radio-pyse", True),
        ("~trap", "trap", True),  # when pip has run out of shorter names
        ("~umpy", "trap", False),
        ("~rapping", "trap", False),
        ("~rapping-1.0.dist-info", "trap", False),
        ("~ap", "trap", False),
    ],
)
def test_a_stash_is_told_by_what_is_left_of_its_name(stash: str, name: str, expected: bool) -> None:
    assert is_stash_of(stash, name) is expected


def test_of_requirements_extras_are_read_and_other_markers_are_not_evaluated(tmp_path: Path) -> None:
    requires = ["numpy>=1.2", 'toml; python_version < "3.11"', 'sphinx ; extra == "Doc"', "dask[distributed,A_b] (>2)"]
    requires += ["x[]", """one @ https://host/x ; ('a' == extra or extra=='b') and os_name == "posix" """]
    info = install(tmp_path, "trap", "1.3.0", {"trap/__init__.py": ""}, requires=requires)
    expected = (
        Requirement("numpy"),
        Requirement("toml"),
        Requirement("sphinx", only_for=frozenset({"doc"})),
        Requirement("dask", extras=frozenset({"distributed", "a-b"})),
        Requirement("x"),
        Requirement("one", only_for=frozenset({"a", "b"})),
    )
    assert read_metadata(info) == Metadata("trap", "1.3.0", expected, tuple(line.strip() for line in requires))


def test_metadata_is_read_again_when_its_file_changed(tmp_path: Path) -> None:
    info = install(tmp_path, "trap", "1.3.0", {})
    assert read_metadata(info).version == "1.3.0"
    (info / "METADATA").write_text("Name: trap\nVersion: 1.3.0.post1\n\nVersion: none\n")
    assert read_metadata(info).version == "1.3.0.post1"


def test_there_is_no_metadata_where_there_is_none(tmp_path: Path) -> None:
    assert read_metadata(tmp_path / "gone") == Metadata()


def test_the_closure_has_what_is_required_and_installed_and_ends_in_a_circle(tmp_path: Path) -> None:
    install(tmp_path, "trap", "1.3.0", {}, requires=["radio-pyse", "absent"])
    install(tmp_path, "radio-pyse", "0.7", {}, requires=["trap", "numpy"])
    install(tmp_path, "numpy", "2.0", {})
    install(tmp_path, "other", "9.0", {})
    expected = {"trap": "1.3.0", "radio-pyse": "0.7", "numpy": "2.0"}
    assert closure(scan([str(tmp_path)]), ["Trap"]) == expected


def test_the_closure_has_what_an_extra_pulls_in_if_somebody_asks_for_that_extra(tmp_path: Path) -> None:
    """As ``celery[redis]`` is ``kombu[redis]``, which is redis. It does not matter who asks first."""
    install(tmp_path, "trap", "1.3.0", {}, requires=["celery", "plugin", "celery[Redis,all]"])
    install(tmp_path, "plugin", "1.0", {}, requires=["celery[none]"])
    of_celery = ["kombu", 'kombu[redis]; extra == "redis"', 'boto; extra == "sqs"', 'celery[yaml]; extra == "all"']
    install(tmp_path, "celery", "5.5", {}, requires=[*of_celery, "pyyaml; extra == 'yaml'"])
    install(tmp_path, "kombu", "5.5", {}, requires=["amqp", 'redis!=4.5; extra == "redis"'])
    for name in ("amqp", "redis", "boto", "pyyaml"):
        install(tmp_path, name, "1.0", {})
    found = closure(scan([str(tmp_path)]), ["trap"])
    assert found.keys() == {"trap", "plugin", "celery", "kombu", "amqp", "redis", "pyyaml"}
