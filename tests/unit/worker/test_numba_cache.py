"""An application without numba pays nothing, and a numba that is not known stays as it is."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from trapd.worker import numba_cache


@pytest.fixture(autouse=True)
def left_alone() -> Iterator[None]:
    finders, modules = [*sys.meta_path], {*sys.modules}
    yield
    sys.meta_path[:] = finders
    for name in {*sys.modules} - modules:
        if name.partition(".")[0] in ("numba", "llvmlite"):
            del sys.modules[name]


def test_without_numba_nothing_is_imported_and_nothing_is_made(tmp_path: Path) -> None:
    cache = numba_cache.wanted(tmp_path, {})
    cache.publish()
    assert "numba" not in sys.modules
    assert not list(tmp_path.iterdir())
    assert cache not in sys.meta_path
    assert cache.document() == {"version": "", "problem": "", "kept": 0, "not_kept": {}}


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    assert numba_cache.wanted(tmp_path, {"TRAPD_NUMBA_CACHE": "false"}) not in sys.meta_path


def test_the_folder_of_the_unit_is_used(tmp_path: Path) -> None:
    assert numba_cache.wanted(tmp_path, {}).root == tmp_path / "numba"
    of_unit = numba_cache.wanted(tmp_path, {"NUMBA_CACHE_DIR": "/var/cache/w/numba"})
    assert of_unit.root == Path("/var/cache/w/numba/trapd")


def install(site: Path, numba: str, caching: str) -> None:
    for module in ("numba/core/base", "numba/core/caching", "numba/core/types", "llvmlite/binding"):
        (site / module).parent.mkdir(parents=True, exist_ok=True)
        (site / f"{module}.py").write_text(caching)
    (site / "numba/__init__.py").write_text(f"__version__ = '0.70.0'\ndef njit(function): return function\n{numba}")


def test_a_numba_that_lacks_what_is_needed_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "", "class CacheImpl: pass")
    monkeypatch.syspath_prepend(tmp_path / "site")
    cache = numba_cache.wanted(tmp_path, {})
    assert importlib.import_module("numba").njit(len) is len
    assert cache.problem.startswith("numba 0.70.0 is not one that trapd knows (AttributeError: ")


# As much of a numba as the cache needs.
SUFFICIENT = """
def get_host_cpu_name(): return "a processor"
class get_host_cpu_features:
    def flatten(self): return ""
class BaseContext:
    def add_dynamic_addr(self): ...
class CacheImpl:
    _locator_classes = []
    def check_cachable(self): ...
class CompileResultCacheImpl(CacheImpl): ...
class CodeLibraryCacheImpl(CacheImpl): ...
class Cache:
    def _save_overload(self): ...
    def _load_overload(self): ...
class _CacheLocator: ...
"""
DECORATORS = "def jit(function): return function\nvectorize = guvectorize = jit\n"
OTHERS = "class config: CACHE_LOCATOR_CLASSES = {!r}"


@pytest.mark.parametrize(
    ("variable", "numba", "cached"),
    [
        pytest.param(None, "", True, id="not set"),
        pytest.param("", OTHERS.format(""), True, id="empty"),
        pytest.param("UserWideCacheLocator", "", False, id="in the environment"),
        pytest.param(None, OTHERS.format("UserWideCacheLocator"), False, id="in numba's configuration"),
    ],
)
def test_where_others_say_where_numba_keeps_its_cache_trapd_turns_none_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, numba: str, cached: bool
) -> None:
    """Numba would not ask trapd's locator then, and keep in its own folders what it does not notice to be stale."""
    install(tmp_path / "site", DECORATORS + numba, SUFFICIENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    if variable is not None:
        monkeypatch.setenv("NUMBA_CACHE_LOCATOR_CLASSES", variable)
    cache = numba_cache.wanted(tmp_path, {})
    decorator = importlib.import_module("numba").njit
    told = "NUMBA_CACHE_LOCATOR_CLASSES is set, so that numba does not ask trapd where its cache is"
    assert cache.document()["problem"] == ("" if cached else told)
    assert (decorator.__name__ != "njit") == cached
    assert bool(importlib.import_module("numba.core.caching").CacheImpl._locator_classes) == cached


class Locator:
    """As one of Numba's, and of a folder of ours."""

    folder, function = "a folder", "lens.bend"


class Refused:
    """What numba knows of a function that it compiles."""

    locator = Locator()


def test_a_function_that_numba_refuses_to_keep_is_named_and_ends_no_start(tmp_path: Path) -> None:
    def refuse(of: Refused, data: object) -> bool:
        warnings.warn('Cannot cache compiled function "bend" as it uses dynamic globals', stacklevel=2)
        return False

    def fail(of: Refused, data: object) -> bool:
        raise AttributeError("a locator\nlacks something")

    cache = numba_cache.Cache(tmp_path)
    assert cache._checked(refuse)(Refused(), None) is False
    assert cache.document()["not_kept"] == {"lens.bend": "it uses dynamic globals"}
    assert cache._checked(fail)(Refused(), None) is False
    assert cache.document()["not_kept"] == {"lens.bend": "AttributeError: a locator lacks something"}


def test_the_locator_has_what_numba_reads_when_it_refuses(tmp_path: Path) -> None:
    file = tmp_path / "lens.py"
    locator = numba_cache._locator(numba_cache.Cache(tmp_path), object)(len_of, str(file), None)
    assert locator._py_file == str(file)


def len_of(text: str) -> int:
    return len(text)
