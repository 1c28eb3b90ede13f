"""Run as a script by the application's interpreter, which need not know trapd: standard library only.

Prints two marked lines of JSON: where this interpreter imports from, then what its celeryconfig says. Two, because the
second may never come: a celeryconfig is a program. It is executed without Celery, which would take half a second.
Marked, because start-up files (sitecustomize, lines of code in path files) run before and may print anything.
"""

from __future__ import annotations

import json
import os
import platform
import site
import sys
import sysconfig
import traceback
import types
from pathlib import Path

MARK = "trapd: "
EAGER = ("task_always_eager", "CELERY_ALWAYS_EAGER")  # Celery's new and old name; it accepts no third


def where() -> dict[str, object]:
    """Import path without the standard library, identity, where installers put packages, and what editable installs'
    finders map to where.

    Folders that are not there belong to it: a source tree that is away for a moment comes back.
    """
    standard = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    standard |= {f"{path}/lib-dynload" for path in standard}
    archive = "python{}{}.zip".format(*sys.version_info)  # of the standard library; hardly anybody has it
    # relative are only the marks that finders leave for themselves
    path = [p for p in map(Path, [*sys.path, *passed_over()]) if p.is_absolute() and p.name != archive]
    prefix = os.path.realpath(sys.prefix)  # behind a release link, another release is another interpreter
    return {
        "paths": [str(folder) for folder in path if os.path.realpath(folder) not in standard],
        "identity": f"{sys.implementation.name} {sys.version} {prefix}",
        "version": platform.python_version(),
        "standard": [*sorted(standard), *shared_library()],
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "executable": sys.executable,
        "place": sysconfig.get_path("purelib", "venv", {"base": ""}).lstrip("/"),
        "shared": [os.path.realpath(folder) for folder in system_folders()],
        "libraries": [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")],
        "editable": mapped(),
        "markers": markers(),
    }


def system_folders() -> list[str]:
    """Where packages are that a virtual environment has only by ``include-system-site-packages``."""
    own = os.path.join(sys.prefix, "") if sys.prefix != sys.base_prefix else None  # noqa: PTH118
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return [folder for folder in folders if own is None or not folder.startswith(own)]


def markers() -> dict[str, str]:
    """What PEP 508 lets a requirement depend on."""
    version, kind = sys.implementation.version, {"alpha": "a", "beta": "b", "candidate": "rc"}
    full = "{}.{}.{}".format(*version[:3])
    if version.releaselevel in kind:
        full += f"{kind[version.releaselevel]}{version.serial}"
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": full,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def shared_library() -> list[str]:
    """The interpreter itself, where its program is only a shell around a library."""
    folder, name = (sysconfig.get_config_var(variable) or "" for variable in ("LIBDIR", "INSTSONAME"))
    library = Path(folder, name)
    return [str(library)] if sysconfig.get_config_var("Py_ENABLE_SHARED") and library.is_file() else []


def mapped() -> dict[str, str]:
    """Import name -> folder, or file without suffix, as setuptools' finders have it.

    Those of `editables` (hatch, pdm) know the file itself: /src/trap/__init__.py, /src/single.py.
    """
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            found |= {str(key): str(value) for key, value in getattr(module, "MAPPING", {}).items()}
    for finder in sys.meta_path:
        for key, value in getattr(finder, "_redirections", {}).items():
            file = Path(value)
            found[str(key)] = str(file.parent if file.stem == "__init__" else file.with_suffix(""))
        found |= planned(finder)
    return found


def planned(finder: object) -> dict[str, str]:
    """What meson-python's finder maps: "/" and the place below the folder that is imported from -> the file, or the
    whole folder, which lies in the source tree or was built. The finder itself would build first."""
    plan = Path(getattr(finder, "_build_path", ""), "meson-info", "intro-install_plan.json")
    if not hasattr(finder, "_build_path") or not os.access(plan, os.R_OK):
        return {}
    found = {}
    for files in json.loads(plan.read_text("utf-8")).values():
        for source, target in files.items():
            root, _, place = target["destination"].partition("/")
            if root in ("{py_platlib}", "{py_purelib}"):
                found[f"/{place}"] = os.path.normpath(source)
    return found


def passed_over() -> list[str]:
    """Folders that were not there when this interpreter started: those that path files name, as editable installs do,
    and those of installed packages, which may be away for a moment."""
    found = []
    for folder in [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]:
        found.append(os.path.normpath(folder))
        for file in sorted(Path(folder).glob("*.pth")):
            text = os.fsdecode(file.read_bytes()) if os.access(file, os.R_OK) else ""
            for line in text.splitlines():
                line = line.rstrip()
                if line and line.isprintable() and not line.startswith(("#", "import ")):
                    found.append(os.path.normpath(Path(folder, line)))
    return [path for path in found if path not in sys.path]


def settings(file: str) -> dict[str, object]:
    """Whether the celeryconfig makes every task run in its caller's process, and whether what it says may depend on
    what is installed; or why it cannot be loaded."""
    module = types.ModuleType("celeryconfig")
    module.__file__ = file
    sys.modules["celeryconfig"] = module
    before = set(sys.modules)
    try:
        exec(compile(Path(file).read_bytes(), file, "exec"), module.__dict__)
    except BaseException as error:  # sys.exit() in a celeryconfig stops a worker as well
        return {"error": _last_line(error), "at": _line_in(file, error)}
    eager = any(bool(getattr(module, name, False)) for name in EAGER)
    return {"eager": eager, "depends": asks_of_installed(set(sys.modules) - before)}


def asks_of_installed(modules: set[str]) -> bool:
    """Whether one of these modules is installed, or tells what is."""
    standard = tuple(f"{os.path.realpath(sysconfig.get_path(name))}/" for name in ("stdlib", "platstdlib"))
    apart = tuple(f"{os.path.realpath(folder)}/" for folder in site.getsitepackages())  # may be below these
    for name in modules:
        file = getattr(sys.modules[name], "__file__", None)
        place = os.path.realpath(file) if file else ""
        if name == "importlib.metadata" or (place and (not place.startswith(standard) or place.startswith(apart))):
            return True
    return False


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _line_in(file: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else file


def main() -> None:
    """Answer, then leave without waiting for threads that the celeryconfig may have started."""
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # what a celeryconfig prints is no answer
        for found in (where, lambda: settings(sys.argv[1])):
            print(f"\n{MARK}{json.dumps(found())}", file=answer, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
