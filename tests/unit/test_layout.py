"""The house's rules that no linter knows: sizes, names, words, and who may act."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.faults.catalogue import KINDS
from tests.faults.where import OF_CATALOGUE, WHERE
from tests.support import pointers
from tests.support.lanes import measured

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "trapd"
MODULE_LINES, FUNCTION_LINES = 400, 40

# Longer than the rule, and why that reads better than splitting it. Path or path:function -> reason.
LONG_MODULES: dict[str, str] = {
    "trapd/control/documents.py": "a list of all documents, of which nobody reads more than one at a time",
}
LONG_FUNCTIONS: dict[str, str] = {}

CATCH_ALL = {"base", "common", "core", "helper", "helpers", "manager", "managers", "misc", "tools", "util", "utils"}
CHANGING_VERBS = {"start", "drain", "interrupt", "kill", "forget"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def walk(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text()))


def lines_without_docstring(function: Function) -> int:
    first, last = function.lineno, function.end_lineno or function.lineno
    docstring = function.body[0]
    is_docstring = isinstance(docstring, ast.Expr) and ast.get_docstring(function) is not None
    inside = (docstring.end_lineno or 0) - docstring.lineno + 1 if is_docstring else 0
    return last - first + 1 - inside


def test_modules_are_short() -> None:
    found = {name(path): len(path.read_text().splitlines()) for path in sources("trapd", "benchmarks")}
    long = {module: lines for module, lines in found.items() if lines > MODULE_LINES}
    assert set(long) <= set(LONG_MODULES), long
    assert all(found[module] > 0.9 * MODULE_LINES for module in LONG_MODULES), "short enough to leave the list"


def test_functions_are_short() -> None:
    long = {
        f"{name(path)}:{node.name}": lines_without_docstring(node)
        for path in sources("trapd", "benchmarks")
        for node in walk(path)
        if isinstance(node, Function) and lines_without_docstring(node) > FUNCTION_LINES
    }
    assert set(long) == set(LONG_FUNCTIONS), long


def test_no_module_is_named_after_nothing() -> None:
    found = [
        name(path) for path in sources("trapd", "tests", "benchmarks") if CATCH_ALL & {path.stem, path.parent.name}
    ]
    assert not found


def test_every_module_says_what_it_is() -> None:
    silent = [
        name(path)
        for path in sources("trapd", "tests", "benchmarks")
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not silent


# --- classes --------------------------------------------------------------------------------------------------------


def base_names(node: ast.ClassDef) -> set[str]:
    """``Journal`` of ``contracts.Journal`` and of ``Journal[int]``."""
    plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return {ast.unparse(base).rpartition(".")[2] for base in plain}


def heirs(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Classes and the concrete ones among their bases: of ours, not private, neither an error, a Protocol nor a
    TypedDict, which has no methods.

    A private base, as _OnInstance of the actions, is part of the family that it is written for.
    """
    classes: dict[str, set[str]] = {}  # by name: two of one name are taken for one
    for node in (node for path in paths for node in walk(path) if isinstance(node, ast.ClassDef)):
        classes.setdefault(node.name, set()).update(base_names(node))
    abstract = {name for name, bases in classes.items() if "Protocol" in bases or name.startswith("_")}
    families = {"Exception", "TypedDict"}
    while more := {name for name, bases in classes.items() if bases & families} - families:
        families |= more
    return {name: found for name, bases in classes.items() if (found := bases & (classes.keys() - abstract - families))}


def test_no_concrete_class_inherits_another() -> None:
    """What needs another class has one: whoever reads it need not know which of two files a method is in."""
    assert not heirs(sources("trapd"))


def test_a_class_that_inherits_a_concrete_one_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Asked(Protocol): ...\nclass Controller(Asked): ...\nclass _Part: ...")
    (tmp_path / "two.py").write_text("class Service(one.Controller): ...\nclass Piece(_Part, Generic[int]): ...")
    (tmp_path / "three.py").write_text(
        "class Record(TypedDict): ...\nclass Longer(Record): ...\nclass More(Longer): ..."
    )
    assert heirs(sorted(tmp_path.iterdir())) == {"Service": {"Controller"}}


# --- words ----------------------------------------------------------------------------------------------------------


def own_errors() -> set[str]:
    """TrapdError and every class below it, by name."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for path in sources("trapd")
        for node in walk(path)
        if isinstance(node, ast.ClassDef)
    }
    found = {"TrapdError"}
    while more := {child for child, parents in bases.items() if parents & found} - found:
        found |= more
    return found


def messages() -> Iterator[tuple[str, str]]:
    """Where one of our own errors is raised, and its message; ``{}`` stands for what is filled in."""
    errors = own_errors()
    for path in sources("trapd"):
        for node in walk(path):
            match node:
                case ast.Raise(exc=ast.Call(func=func, args=[message, *_])):
                    if ast.unparse(func).rpartition(".")[2] in errors and (text := literal(message)):
                        yield f"{name(path)}:{node.lineno}", text


def literal(message: ast.expr) -> str:
    match message:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(literal(part) or "{}" for part in parts)
        case ast.BinOp(left=left, op=ast.Add()):
            return literal(left)
        case _:
            return ""


def test_messages_start_in_lower_case_and_end_without_a_full_stop() -> None:
    wrong = [
        f"{where}: {text}" for where, text in messages() if text[0].isupper() or text.rstrip().endswith((".", "!"))
    ]
    assert not wrong


def test_every_own_error_is_acted_on_somewhere() -> None:
    """An exception type that nobody catches by name should be one of the others."""
    caught = {
        word
        for path in sources("trapd")
        for node in walk(path)
        if isinstance(node, ast.ExceptHandler) and node.type
        for word in re.findall(r"\w+", ast.unparse(node.type))
    }
    assert own_errors() <= caught, own_errors() - caught


@pytest.mark.parametrize("folder", ["trapd", "tests", "benchmarks"])
def test_docstrings_and_comments_point_at_things_that_exist(folder: str) -> None:
    wrong = {
        name(path): missing
        for path in sources(folder)
        if (missing := pointers.missing(pointers.prose(path.read_text())))
    }
    assert not wrong


def test_a_pointer_to_nothing_is_noticed() -> None:
    text = "See trapd/rollout/gone.py, rollout/plan.py, trapd.model.Disk, trapd.model.Gone, trapd.gone and trapd.toml."
    assert pointers.missing(text) == ["trapd.gone", "trapd.model.Gone", "trapd/rollout/gone.py"]


# --- who may act ----------------------------------------------------------------------------------------------------


def acts_on_a_backend(path: Path) -> set[str]:
    """The changing verbs that a file takes from something called ``backend``."""
    return {
        node.attr
        for node in walk(path)
        if isinstance(node, ast.Attribute)
        and node.attr in CHANGING_VERBS
        and re.fullmatch(r"(.*\.)?_?backend", ast.unparse(node.value))
    }


def test_only_apply_changes_what_runs() -> None:
    actors = {name(path): verbs for path in sources("trapd") if (verbs := acts_on_a_backend(path))}
    assert actors == {"trapd/apply.py": CHANGING_VERBS}


# --- tests ----------------------------------------------------------------------------------------------------------


def test_tests_use_fakes_not_mocks() -> None:
    wrong = [
        name(path)
        for path in sources("tests")
        for node in walk(path)
        if (isinstance(node, ast.Import) and any(one.name.startswith(("unittest.mock", "mock")) for one in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("unittest", "mock")))
    ]
    assert not wrong


def test_what_is_known_to_take_long_is_there() -> None:
    """Under another name a test would begin last, and all others would wait for it."""
    for scope in measured():
        file, _, test = scope.partition("::")
        text = (ROOT / file).read_text() if (ROOT / file).exists() else ""
        assert f"def {test.partition('[')[0] or 'test'}" in text, f"{scope} is gone: correct tests/support/seconds.json"


def test_each_fault_has_a_test() -> None:
    assert set(OF_CATALOGUE) == set(KINDS), "each kind that is done by chance has a test that always runs"
    assert set(OF_CATALOGUE.values()) <= set(WHERE)
    for fault, tests in WHERE.items():
        for file, _, test in (one.partition("::") for one in tests):
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{fault}: {file} has no {test}"


def test_fast_tests_never_sleep() -> None:
    """``sleep(0)``, which only lets others run, is no sleep."""
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in sources("tests/unit", "tests/simulation")
        for node in walk(path)
        if isinstance(node, ast.Call)
        and re.fullmatch(r"((time|asyncio)\.)?sleep", ast.unparse(node.func))
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]
    assert not wrong
