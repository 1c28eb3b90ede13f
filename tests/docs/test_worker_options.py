"""Every option of `celery worker` has its place, and docs/worker_options.md says so."""

from __future__ import annotations

import click
from celery.app.defaults import SETTING_KEYS
from celery.bin.celery import celery
from celery.bin.worker import worker

from docs import worker_options as written
from trapd.settings.keys import KEYS
from trapd.settings.worker_options import GROUPS, find


def test_the_page_is_as_it_would_be_written_now() -> None:
    """Write it anew with: python -m docs.worker_options"""
    assert written.FILE.read_text() == written.page()


def test_every_option_of_the_installed_celery_is_there_by_all_its_names() -> None:
    for command, group in ((worker, "celery worker"), (celery, "celery")):
        assert isinstance(command, click.Command)
        theirs = {frozenset(one.opts) for one in command.params}
        ours = {frozenset(one.names.split(", ")) for one in GROUPS[group]}
        assert theirs == ours


def test_the_keys_and_settings_that_it_names_exist() -> None:
    options = [one for group in GROUPS.values() for one in group]
    for option in options:
        table, _, key = option.key.rpartition(".")
        assert not option.key or key in KEYS[table or "pools.NAME"]
        assert not option.setting or option.setting in SETTING_KEYS
        assert option.place


def test_an_option_is_found_by_what_people_write_for_it() -> None:
    assert [
        (found := find(key)) and found.names for key in ("task_events", "events", "B", "pool-start-method", "E")
    ] == [
        "--task-events, -E, --events",
        "--task-events, -E, --events",
        "--beat, -B",
        "--pool-start-method",
        "--task-events, -E, --events",
    ]
    assert find("workers") is None
