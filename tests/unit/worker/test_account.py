"""A worker's account: what one run writes, the next ones read, whatever happens in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trapd.worker.account import FOLDER, RUN, Account

KNOWN = (RUN, "revoked")


def said(account: Account) -> list[object]:
    return [entry["ids"] for entry in account.news() if entry["kind"] == "revoked"]


def revoked(*ids: str) -> dict[str, object]:
    return {"kind": "revoked", "ids": list(ids)}


@pytest.fixture
def account(tmp_path: Path) -> Callable[[str], Account]:
    return lambda name: Account(tmp_path, name)


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / FOLDER).iterdir()) if (tmp_path / FOLDER).exists() else []


def die(account: Account) -> None:
    """As a process that ends: the kernel closes its files."""
    import os

    assert account._file is not None
    os.close(account._file)


def test_nothing_is_there_until_there_is_something_to_say(tmp_path: Path, account: Callable[[str], Account]) -> None:
    new = account("default@7-1")
    assert list(new.news()) == []
    new.tidy(KNOWN)
    assert files(tmp_path) == []
    new.add(revoked("a"))
    [file] = files(tmp_path)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["kind"] for line in lines] == [RUN, "revoked"]
    assert lines[0]["instance"] == "default@7-1"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_what_others_write_is_read_once_and_one_s_own_not_at_all(account: Callable[[str], Account]) -> None:
    old, new = account("default@7-1"), account("default@8-1")
    old.add(revoked("a"))
    new.add(revoked("b"))
    assert said(new) == [["a"]]
    assert said(new) == []
    old.add(revoked("c"))
    assert said(new) == [["c"]]


def test_only_the_files_of_the_dead_are_removed(tmp_path: Path, account: Callable[[str], Account]) -> None:
    dead, alive, new = account("default@7-1"), account("default@7-2"), account("default@8-1")
    dead.add(revoked("a"))
    alive.add(revoked("b"))
    die(dead)
    assert said(new) == [["a"], ["b"]]
    new.begin([revoked("a", "b")])
    new.tidy(KNOWN)
    assert [file.name.partition(".")[0] for file in files(tmp_path)] == ["default@7-2", "default@8-1"]
    assert said(account("gpu@9-1")) == [["b"], ["a", "b"]]


def test_a_dead_one_s_last_words_are_not_removed_unread(tmp_path: Path, account: Callable[[str], Account]) -> None:
    dead, new = account("default@7-1"), account("default@8-1")
    dead.add(revoked("a"))
    assert said(new) == [["a"]]
    dead.add(revoked("b"))
    die(dead)
    new.tidy(KNOWN)
    assert said(new) == [["b"]]
    new.tidy(KNOWN)
    assert files(tmp_path) == []


def test_what_another_module_wrote_is_left_for_it(tmp_path: Path, account: Callable[[str], Account]) -> None:
    dead, new = account("default@7-1"), account("default@8-1")
    dead.add({"kind": "loaded", "distributions": []})
    die(dead)
    assert said(new) == []
    new.tidy(KNOWN)
    assert len(files(tmp_path)) == 1


def test_a_line_that_is_torn_costs_no_other(tmp_path: Path, account: Callable[[str], Account]) -> None:
    old, new = account("default@7-1"), account("default@8-1")
    old.add(revoked("a"))
    [file] = files(tmp_path)
    with file.open("ab") as torn:
        torn.write(b'{"kind": "revoked", "i')
    assert said(new) == [["a"]]
    old._torn = True  # the write that tore it had failed: the disk was full
    old.add(revoked("b"))
    assert said(new) == [["b"]]


def test_a_new_beginning_replaces_what_was_said_before(tmp_path: Path, account: Callable[[str], Account]) -> None:
    one = account("default@7-1")
    one.add(revoked("a"))
    one.begin([revoked("b")])
    one.add(revoked("c"))
    assert len(files(tmp_path)) == 1
    assert said(account("default@8-1")) == [["b"], ["c"]]
