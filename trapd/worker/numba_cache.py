"""Numba keeps what it compiles, for all starts of all generations on the same code: see
docs/adr/0039-numbas-cache-is-named-by-content.md.

``Cache.arrange`` waits until the application imports numba; without that it costs nothing. Then functions of installed
distributions are cached, those of everybody else are left to numba. Standard library only.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import pickle
import platform
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from trapd import environment
from trapd.worker import compiled_folder
from trapd.worker.compiled_folder import Folder, UnsafeError
from trapd.worker.lines import log_line
from trapd.worker.owners import Owners

VARIABLE, OFF, LOCATORS = environment.NUMBA_CACHE, "false", environment.NUMBA_LOCATORS
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_DECORATORS = ("jit", "njit", "vectorize", "guvectorize")
_MODULES = ("llvmlite.binding", "numba.core.base", "numba.core.caching", "numba.core.types")


def wanted(shared: Path, environ: Mapping[str, str]) -> Cache:
    """Arrange the cache of this process, unless it is turned off. ``shared``: the workers' own folder.

    The units set NUMBA_CACHE_DIR; a folder below that is ours alone.
    """
    given = environ.get("NUMBA_CACHE_DIR")
    cache = Cache(Path(given, "trapd") if given else shared / "numba")
    if environ.get(VARIABLE) != OFF:
        cache.arrange()
    return cache


class Cache(MetaPathFinder):
    """One for each process. After ``arrange`` one of ``publish`` and ``abandon``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problem = ""  # why there is no cache, although numba was imported
        self.version = ""  # of numba, if it was imported
        self.kept: set[str] = set()  # functions that are in the cache, or will be
        self.not_kept: dict[str, str] = {}  # function -> why numba refuses to cache it
        self._folders: dict[str, Folder | None] = {}
        self._owners = Owners()
        self._processor = ""

    def arrange(self) -> None:
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "numba":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._take(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    # -- numba ---------------------------------------------------------------------------------------------------------

    def _take(self, numba: ModuleType) -> None:
        self.version = str(getattr(numba, "__version__", "?"))
        # numba's own configuration, which a file may set as well; a numba that does not have it ignores the variable
        if os.environ.get(LOCATORS) or getattr(getattr(numba, "config", None), "CACHE_LOCATOR_CLASSES", ""):
            self.problem = f"{LOCATORS} is set, so that numba does not ask trapd where its cache is"
            return
        try:
            compiled_folder.safe(self.root)
            self._patch(numba)
        except UnsafeError as error:
            self.problem = str(error)
        except (ImportError, AttributeError, TypeError, KeyError) as error:
            self.problem = f"numba {self.version} is not one that trapd knows ({type(error).__name__}: {error})"
        except OSError as error:
            self.problem = f"cannot use {self.root}: {error.strerror}"

    def _patch(self, numba: ModuleType) -> None:
        """Raises what tells that this numba is another one than those known; nothing is changed then."""
        # by name: trapd itself has neither, and type checkers would look for them
        llvm, base, caching, types = map(importlib.import_module, _MODULES)
        locators = caching.CacheImpl._locator_classes
        if not isinstance(locators, list):
            raise TypeError("its locators are no list")
        decorators = {name: getattr(numba, name) for name in _DECORATORS}
        save, load = caching.Cache._save_overload, caching.Cache._load_overload
        address, checks = base.BaseContext.add_dynamic_addr, {}
        for implementation in (caching.CompileResultCacheImpl, caching.CodeLibraryCacheImpl):
            checks[implementation] = implementation.check_cachable
        processor = [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
        settings = compiled_folder.variables(os.environ)
        self._processor = "\n".join([sys.version, platform.machine(), *processor, *settings])

        locators.insert(0, _locator(self, caching._CacheLocator))
        for implementation, check in checks.items():
            implementation.check_cachable = self._checked(check)
        caching.Cache._save_overload = self._saved(save)
        caching.Cache._load_overload = self._loaded(load)

        # A function that is given as an argument is lowered to its address, which the optimiser drops on some
        # processors only; where it stays, numba refuses to cache the caller ("dynamic globals"). The value is never
        # used: the callee is known by its type. (Results are equal bit for bit.)
        def without_dispatchers(context: Any, builder: Any, pointer: int, info: str) -> Any:
            if info == "CPUDispatcher":
                return context.get_constant_null(types.voidptr)
            return address(context, builder, pointer, info)

        base.BaseContext.add_dynamic_addr = without_dispatchers
        for name, decorator in decorators.items():
            setattr(numba, name, self._by_default(decorator))

    def _by_default(self, decorator: Callable[..., Any]) -> Callable[..., Any]:
        def cached(*arguments: Any, **options: Any) -> Any:
            if "cache" in options:
                return decorator(*arguments, **options)
            first = arguments[0] if arguments else None
            if len(arguments) == 1 and hasattr(first, "__code__"):
                return decorator(cache=True, **options)(first) if self.of(first) else decorator(first, **options)

            def decorate(function: Any) -> Any:
                more = {"cache": True} if self.of(function) else {}
                return decorator(*arguments, **options, **more)(function)

            return decorate

        return cached

    def _checked(self, check: Callable[..., bool]) -> Callable[..., bool]:
        def checked(implementation: Any, data: Any) -> bool:
            if not _is_ours(implementation.locator):
                return check(implementation, data)
            name = implementation.locator.function
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                try:
                    kept = check(implementation, data)
                except Exception as error:  # whatever it is about, the function is compiled and can be called
                    self.not_kept[name] = _one_line(error)
                    return False
            if kept:
                self.kept.add(name)
            else:
                words = " ".join(str(told[-1].message).split()) if told else "numba does not say why"
                self.not_kept.setdefault(name, re.sub(r"^Cannot cache compiled function .*? as it ", "it ", words))
            return kept

        return checked

    def _saved(self, save: Callable[..., None]) -> Callable[..., None]:
        def saved(cache: Any, signature: Any, data: Any) -> None:
            locator = cache._impl.locator
            if not _is_ours(locator):
                save(cache, signature, data)
            elif not locator.folder.full:
                try:
                    save(cache, signature, data)
                except OSError as error:  # a full disk must not fail the start
                    self._refused(locator.function, f"cannot write it: {error.strerror}")
                except Exception as error:  # what a closure holds may not be pickled, for one
                    self._refused(locator.function, _one_line(error))
            elif locator.function in self.kept or locator.function in self.not_kept or locator.folder.told:
                return
            elif cache._impl.check_cachable(data):  # else that has told why
                self._refused(locator.function, "the process that filled the cache had not compiled it")

        return saved

    def _loaded(self, load: Callable[..., Any]) -> Callable[..., Any]:
        def loaded(cache: Any, signature: Any, target: Any) -> Any:
            locator = cache._impl.locator
            try:
                result = load(cache, signature, target)
            except Exception as error:
                if not _is_ours(locator):
                    raise
                if not _has_key(cache, signature, target):
                    self.not_kept[locator.function] = _one_line(error)
                elif locator.folder.full:
                    locator.folder.discard(f"{locator.function}: {_one_line(error)}")
                return None
            if result is not None and _is_ours(locator):
                self.kept.add(locator.function)
            return result

        return loaded

    def _refused(self, function: str, why: str) -> None:
        self.kept.discard(function)
        self.not_kept[function] = why

    # -- folders -------------------------------------------------------------------------------------------------------

    def of(self, function: Any) -> Folder | None:
        """The folder for this function; None if it is in no file that an installed distribution lists."""
        try:
            file = inspect.getfile(function)
        except TypeError:
            return None
        owner = self._owners.of(file)
        if owner is None or not owner.record or _place(file, owner.record) is None:
            return None
        if owner.name not in self._folders:
            try:
                self._folders[owner.name] = Folder(self.root, owner.name, self._processor)
            except (OSError, ImportError) as error:
                self.problem = f"cannot cache functions of {owner.name}: {error}"
                self._folders[owner.name] = None
        return self._folders[owner.name]

    def record(self, file: str) -> str:
        owner = self._owners.of(file)
        return owner.record if owner else ""

    def publish(self) -> None:
        """The application is loaded, and its smoke test passed: keep what was compiled, and log what is not kept."""
        self._end()
        folders = [folder for folder in self._folders.values() if folder]
        for folder in folders:
            try:
                if folder.publish():
                    log_line(f"numba's machine code for {folder.name} is kept in {folder.place}")
            except OSError as error:
                self.problem = f"cannot keep what numba compiled: {error.strerror}: {folder.place}"
            if folder.told:
                log_line(f"numba's cache for {folder.name} was unusable and is thrown away: {folder.told}", "WARNING")
        if folders:
            compiled_folder.tidy(self.root)
        for name, reason in sorted(self.not_kept.items()):
            log_line(f"numba compiles {name} at each start: {reason}", "WARNING")
        if self.problem:
            log_line(f"numba compiles at each start: {self.problem}", "WARNING")

    def abandon(self) -> None:
        self._end()
        for folder in filter(None, self._folders.values()):
            folder.abandon()

    def _end(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def document(self) -> dict[str, Any]:
        """For `trapctl check`."""
        return {"version": self.version, "problem": self.problem, "kept": len(self.kept), "not_kept": self.not_kept}


def _is_ours(locator: Any) -> bool:
    return hasattr(locator, "folder")  # numba's own have none


def _has_key(cache: Any, signature: Any, target: Any) -> bool:
    """Whether numba can make the key of a function, for which it pickles what the function's closure holds."""
    try:
        cache._index_key(signature, target.codegen())
    except Exception:
        return False
    return True


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _locator(cache: Cache, base: type) -> type:
    """Numba names a function by the whole path and the time of its file. Here the path is that inside the environment,
    and in place of the time there is the content of the file with the constants of its module, which are compiled in.
    """

    class Locator(base):  # type: ignore[misc]
        def __init__(self, function: Any, file: str, folder: Folder) -> None:
            self.folder, self._code = folder, function.__code__
            self._py_file = file  # numba names it when it refuses to keep the function
            self.function = f"{function.__module__}.{function.__qualname__}"
            self._inner = _place(file, cache.record(file)) or ""
            self._constants = _constants(function)

        def get_cache_path(self) -> str:
            return str(self.folder.path / Path(self._inner).parent)

        def get_source_stamp(self) -> str:
            return hashlib.sha256(Path(self._py_file).read_bytes() + self._constants).hexdigest()

        def get_disambiguator(self) -> str:
            return str(self._code.co_firstlineno)

        def ensure_cache_path(self) -> None:
            Path(self.get_cache_path()).mkdir(mode=0o700, parents=True, exist_ok=True)

        @classmethod
        def from_function(cls, function: Any, file: str) -> Any:
            folder = cache.of(function)
            return cls(function, file, folder) if folder else None

    return Locator


def _place(file: str, record: str) -> str | None:
    """The path inside site-packages; None if RECORD does not list the file."""
    site = str(Path(record).parents[1]) + os.sep if record else ""
    if not site or not file.startswith(site):
        return None
    inner = file[len(site) :]
    try:
        text = Path(record).read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    return inner if f"\n{inner}," in f"\n{text}" else None


def _constants(function: Any) -> bytes:
    """The module's plain values by now: numba takes a global for a constant, and its key does not hold the value, which
    may come from a setting or the environment."""
    found = []
    for name, value in sorted(vars(sys.modules.get(function.__module__, object)).items()):
        if name.startswith("__"):
            continue
        if isinstance(value, _PLAIN):
            found.append((name, repr(value)))
        elif hasattr(value, "tobytes") and hasattr(value, "dtype"):
            found.append((name, f"{value.dtype} {hashlib.sha256(value.tobytes()).hexdigest()}"))
        elif isinstance(value, tuple) and all(isinstance(member, _PLAIN) for member in value):
            found.append((name, repr(value)))
    return pickle.dumps(found)
