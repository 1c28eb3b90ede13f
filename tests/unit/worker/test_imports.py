"""Watched packages come from the snapshot alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from trapd.worker.imports import blind_finders, put_first, strays


@pytest.fixture(autouse=True)
def path_as_before() -> Iterator[None]:
    before = {name: list(getattr(sys, name)) for name in ("path", "meta_path", "path_hooks")}
    modules = dict(sys.modules)
    yield
    for name, value in before.items():
        getattr(sys, name)[:] = value
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)  # a real numpy, say, in whose place the test put another


def editable(distribution: str, mapping: dict[str, str], namespaces: dict[str, list[str]] | None = None) -> ModuleType:
    """A finder as setuptools writes one for an editable install: a class, its tables in its module."""
    module = ModuleType(f"__editable___{distribution}_finder")
    source = """
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None

    @classmethod
    def hook(cls, path):
        raise ImportError
"""
    vars(module).update(MAPPING=mapping, NAMESPACES=namespaces or {})
    exec(source, vars(module))
    sys.modules[module.__name__] = module
    sys.meta_path.append(vars(module)["Finder"])
    sys.path_hooks.append(vars(module)["Finder"].hook)
    return module


def test_a_finder_that_serves_only_watched_packages_is_taken_off() -> None:
    before = list(sys.meta_path), list(sys.path_hooks)
    editable("trap", {"trap": "/src/trap"}, {"trap.plugins": ["/src/plugins"]})
    blind_finders({"trap"})
    assert (sys.meta_path, sys.path_hooks) == before


def test_finders_of_other_packages_stay() -> None:
    other = editable("other", {"other": "/src/other"})
    blind_finders({"trap"})
    assert vars(other)["Finder"] in sys.meta_path
    assert vars(other)["Finder"].hook in sys.path_hooks
    assert vars(other)["MAPPING"] == {"other": "/src/other"}


def test_a_finder_that_serves_both_forgets_the_watched_ones() -> None:
    both = editable("both", {"trap": "/src/trap", "trapeze": "/src/trapeze", "trap.inner": "/src/inner"})
    blind_finders({"trap"})
    assert vars(both)["MAPPING"] == {"trapeze": "/src/trapeze"}
    assert vars(both)["Finder"] in sys.meta_path


def test_finders_with_tables_of_their_own_are_known_too() -> None:
    class Redirecting:
        _redirections: ClassVar = {"trap": "/src/trap/__init__.py"}

    class Meson:
        def __init__(self) -> None:
            self._top_level_modules = {"trap"}

    meson: Any = Meson()
    sys.meta_path[:0] = [Redirecting, meson]  # type: ignore[list-item]
    blind_finders({"trap"})
    assert Redirecting not in sys.meta_path
    assert meson not in sys.meta_path


def test_the_standard_finders_stay() -> None:
    before = list(sys.meta_path)
    blind_finders({"trap"})
    assert sys.meta_path == before


def test_the_snapshot_is_first_and_the_working_directory_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sys.path[:] = ["/early", "/s/runtime", "/site"]
    put_first([Path("/s/code"), Path("/s/runtime")])
    assert sys.path == ["/s/code", "/s/runtime", "/early", "/site", str(tmp_path)]


def loaded(name: str, **inner: object) -> None:
    module = ModuleType(name)
    vars(module).update(inner)
    sys.modules[name] = module


def test_strays_are_watched_modules_from_outside_the_snapshot(tmp_path: Path) -> None:
    loaded("trap", __file__=f"{tmp_path}/code/trap/__init__.py")
    loaded("trap.late", __file__="/site-packages/trap/late.py")
    loaded("trap.space", __path__=[f"{tmp_path}/code/trap/space", "/site-packages/trap/space"])
    loaded("trapeze", __file__="/site-packages/trapeze.py")
    assert strays({"trap"}, [tmp_path / "code"]) == ("trap.late=/site-packages/trap/late.py",)


def test_whatever_comes_from_an_installed_folder_that_was_copied_whole_is_a_stray(tmp_path: Path) -> None:
    loaded("numpy", __file__="/venv/site-packages/numpy/__init__.py")
    loaded("scipy", __file__=f"{tmp_path}/env/site-packages/scipy/__init__.py")
    loaded("plugin", __file__="/anywhere/plugin.py")
    code = [tmp_path / "code", tmp_path / "env/site-packages"]
    assert strays({"trap"}, code, [Path("/venv/site-packages")]) == ("numpy=/venv/site-packages/numpy/__init__.py",)


def test_a_namespace_shared_with_an_unwatched_distribution_is_no_stray(tmp_path: Path) -> None:
    loaded("ns", __path__=[f"{tmp_path}/code/ns", "/site-packages/ns"])
    loaded("ns.common", __file__="/site-packages/ns/common.py")
    loaded("ns.trap", __file__=f"{tmp_path}/code/ns/trap/__init__.py")
    loaded("ns.trapeze", __file__="/site-packages/ns/trapeze.py")
    assert strays({"ns.trap"}, [tmp_path / "code"]) == ()
    loaded("ns.trap.late", __file__="/site-packages/ns/trap/late.py")
    assert strays({"ns.trap"}, [tmp_path / "code"]) == ("ns.trap.late=/site-packages/ns/trap/late.py",)


def test_a_finder_keeps_an_unwatched_package_of_the_same_namespace() -> None:
    both = editable("both", {"ns.trap": "/src/trap/ns/trap", "ns.common": "/src/common/ns/common"})
    blind_finders({"ns.trap"})
    assert vars(both)["MAPPING"] == {"ns.common": "/src/common/ns/common"}


def test_a_folder_that_only_begins_like_the_snapshot_is_outside(tmp_path: Path) -> None:
    loaded("trap", __file__=f"{tmp_path}/code2/trap.py")
    assert len(strays({"trap"}, [tmp_path / "code"])) == 1


def test_a_snapshot_reached_through_a_link_is_the_snapshot(tmp_path: Path) -> None:
    (tmp_path / "real/code").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    loaded("trap", __file__=f"{tmp_path}/real/code/trap.py")
    assert strays({"trap"}, [tmp_path / "link/code"]) == ()


def test_what_is_in_sys_modules_and_no_module_does_no_harm(tmp_path: Path) -> None:
    sys.modules["trap.nothing"] = None  # type: ignore[assignment]
    loaded("trap.lazy", __getattr__=lambda name: pytest.fail(f"asked for {name}"))
    assert strays({"trap"}, [tmp_path]) == ()
