"""The man pages say what trapctl's help and the shipped configuration say."""

from __future__ import annotations

import re

import click
import pytest

from docs import man_pages
from trapd.ctl import shipped
from trapd.ctl.main import cli
from trapd.settings.keys import KEYS


@pytest.mark.parametrize("page", man_pages.PAGES)
def test_a_page_is_as_it_would_be_written_now(page: str) -> None:
    """Write them anew with: python -m docs.man_pages"""
    assert (man_pages.FOLDER / page).read_text() == man_pages.PAGES[page]()


def test_every_page_is_shipped() -> None:
    assert {path.name for path in man_pages.FOLDER.iterdir()} == set(shipped.PAGES)


def test_every_verb_and_every_key_has_its_entry() -> None:
    verbs = re.findall(r"^\.SS trapctl (\w+)", man_pages.trapctl(), re.MULTILINE)
    assert set(verbs) == set(cli.list_commands(click.Context(cli)))
    keys = re.findall(r"^\.B ([a-z_]+)(?: =|$)", man_pages.trapd_toml(), re.MULTILINE)
    assert sorted(keys) == sorted(name for table in KEYS.values() for name in table)


def test_nothing_in_a_page_is_taken_for_an_order_of_roff() -> None:
    assert man_pages.roff(".so /etc/passwd\n'tis\n\\n(.z") == "\\&.so /etc/passwd\n\\&'tis\n\\en(.z"
    known = {"TH", "SH", "SS", "TP", "PP", "B", "BR", "I", "br", "nf", "fi", "RS", "RE"}
    for page in man_pages.PAGES.values():
        assert set(re.findall(r"^[.'](\w*)", page(), re.MULTILINE)) <= known
