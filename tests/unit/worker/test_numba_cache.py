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


def test_a_numba_that_lacks_what_is_needed_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    for module in ("numba/core/base", "numba/core/caching", "numba/core/types", "llvmlite/binding"):
        (site / module).parent.mkdir(parents=True, exist_ok=True)
        (site / f"{module}.py").write_text("class CacheImpl: pass")
    (site / "numba/__init__.py").write_text("__version__ = '0.70.0'\ndef njit(function): return function")
    monkeypatch.syspath_prepend(site)
    cache = numba_cache.wanted(tmp_path, {})
    assert importlib.import_module("numba").njit(len) is len
    assert cache.problem.startswith("numba 0.70.0 is not one that trapd knows (AttributeError: ")


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
