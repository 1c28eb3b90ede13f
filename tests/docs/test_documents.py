"""What the documents say is true: snippets parse or run, commands exist, links and named paths lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pointers
from trapd import settings
from trapd.ctl.main import VERBS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
SHIPPED = sorted([*ROOT.glob("etc/*"), ROOT / "Makefile", ROOT / ".ci/run", ROOT / ".ci/packages"])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def snippets(language: str) -> list[pytest.ParameterSet]:
    """Every fenced block of that language, in all documents."""
    return [
        pytest.param(text, id=f"{name(document)}:{number}")
        for document in DOCUMENTS
        for number, (tag, text) in enumerate(_FENCE.findall(document.read_text()), 1)
        if tag == language
    ]


def commands() -> Iterator[tuple[str, list[str]]]:
    """What a reader is told to type: lines after "$ " in console blocks."""
    for block in snippets("console"):
        for line in str(block.values[0]).splitlines():
            if line.startswith("$ "):
                yield str(block.id), line[2:].split()


def without_code(text: str) -> str:
    return _FENCE.sub("", text)


def test_there_is_something_to_check() -> None:
    assert {"README.md", "CHANGELOG.md", "docs/design.md", "benchmarks/README.md"} <= {name(one) for one in DOCUMENTS}
    assert snippets("toml")
    assert [words for _, words in commands()][:2] == [["make", "run"], ["make", "test"]]


@pytest.mark.parametrize("text", snippets("toml"))
def test_toml_snippets_are_accepted_by_trapd(text: str, tmp_path: Path) -> None:
    if "[app]" not in text:
        tomllib.loads(text)
        return
    file = tmp_path / "trapd.toml"
    file.write_text(text)
    assert settings.load(file).pools


@pytest.mark.parametrize("text", snippets("python") or [pytest.param("pass", id="none yet")])
def test_python_snippets_are_python(text: str) -> None:
    ast.parse(text)


def test_make_has_every_chore_that_the_documents_name() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    named = {chore for one in DOCUMENTS for chore in re.findall(r"[`$] ?make ([a-z]+)", one.read_text())}
    assert named <= targets, named - targets
    helped = set(re.findall(r'@echo "make ([a-z]+)', makefile))
    assert {"run", "test"} <= helped <= targets


def test_trapctl_has_every_command_that_the_documents_name() -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "trapd.ctl.main", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    known = set(re.findall(r"^  ([a-z]+)\b", helped, re.MULTILINE))
    named = {verb for one in DOCUMENTS for verb in re.findall(r"`trapctl ([a-z]+)", one.read_text())}
    assert named <= known, named - known


def test_trapctl_has_every_command_that_messages_name_with_its_options() -> None:
    """Of messages the unit tests compare the words, not whether somebody can type them."""
    sources = [
        path.read_text() for path in [*(ROOT / "trapd").rglob("*.py"), *(ROOT / "systemd").rglob("*")] if path.is_file()
    ]
    named = {found for text in sources for found in re.findall(r"`trapctl ([a-z]+)((?: --[a-z-]+)*)`", text)}
    assert ("install", "") in named
    for verb, options in sorted(named):
        assert verb in {known.partition(" ")[0] for known in VERBS}, verb
        if options:
            command = importlib.import_module(f"trapd.ctl.verbs.{verb}").verb
            known = {name for parameter in command.params for name in parameter.opts}
            assert set(options.split()) <= known, (verb, options)


def test_modules_that_are_to_be_run_exist() -> None:
    text = "".join(one.read_text() for one in [*DOCUMENTS, ROOT / "Makefile"])
    modules = set(re.findall(r"python -m ((?:trapd|benchmarks)[\w.]*\w)", text))
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in _LINK.findall(without_code(document.read_text())) if "://" not in link]
    dead = [link for link in links if not (document.parent / link.partition("#")[0]).exists()]
    assert not dead


def test_every_document_can_be_reached_from_the_readme() -> None:
    found, left = set(), {ROOT / "README.md"}
    while left:
        document = left.pop()
        found.add(document)
        links = [link.partition("#")[0] for link in _LINK.findall(without_code(document.read_text()))]
        there = {(document.parent / link).resolve() for link in links if link and "://" not in link}
        folders = {page for folder in there if folder.is_dir() for page in folder.glob("*.md")}
        left |= ({one for one in there if one.suffix == ".md"} | folders) - found
    assert {name(one) for one in DOCUMENTS} - {name(one) for one in found} == set()


@pytest.mark.parametrize("document", [*DOCUMENTS, *SHIPPED], ids=name)
def test_named_paths_and_modules_exist(document: Path) -> None:
    assert not pointers.missing(document.read_text())


@pytest.mark.parametrize("record", sorted((ROOT / "docs/adr").glob("*.md")), ids=name)
def test_decision_records_have_their_form(record: Path) -> None:
    text, number = record.read_text(), int(record.name[:4])
    assert text.startswith(f"# {number}. ")
    assert re.search(r"^(Accepted|Superseded by \d+), \d{4}-\d{2}\.", text, re.MULTILINE)
    assert [heading in text for heading in ("## Why a decision was needed", "## Decision", "## What it costs")] == [
        True
    ] * 3


def test_each_number_of_a_decision_is_given_once() -> None:
    numbers = [int(record.name[:4]) for record in sorted((ROOT / "docs/adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_changelog_speaks_of_what_is_to_come() -> None:
    assert re.search(r"^## \[Unreleased\]\n+### \w+\n+- ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_nobody_is_told_to_install_a_package_that_is_not_ours() -> None:
    """The name is not registered, so that anybody could register it, and root would install it."""
    texts = [*DOCUMENTS, *SHIPPED, *ROOT.glob("docs/man/*"), *(ROOT / "trapd").rglob("*.py")]
    assert [
        name(text) for text in texts if re.search(r"pip3? install (-\S+ )*trapd\b(?![-_.*])", text.read_text())
    ] == []
