"""Passwords never leave."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapd.masking import mask, masked


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("amqp://guest:secret@localhost:5672//", "amqp://guest:***@localhost:5672//"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://u:se@cr:et@host/v and redis://:x@h", "amqp://u:***@host/v and redis://:***@h"),
        ("sentinel://:a@h1:1;sentinel://:b@h2:2", "sentinel://:***@h1:1;sentinel://:***@h2:2"),
        ("'amqp://u:p#q/r@h//'", "'amqp://u:***@h//'"),
        ("amqp://u:1234/5@h", "amqp://u:***@h"),
        ("amqp://u:a@b/c@h", "amqp://u:***@h"),
        ("amqp://u:it's@h", "amqp://u:***@h"),
        ("redis://h/0?ssl=1&password=secret&x=2", "redis://h/0?ssl=1&password=***&x=2"),
        ("https://h/q?sig=ab%2Fc=, and https://h?design=2", "https://h/q?sig=*** and https://h?design=2"),
        ("a@b: no password", "a@b: no password"),
        ("amqp://user@host//", "amqp://user@host//"),
        ("see http://host:80/x, or write to a@b.c", "see http://host:80/x, or write to a@b.c"),
        ("filesystem://", "filesystem://"),
    ],
)
def test_the_password_of_a_url_becomes_stars(text: str, safe: str) -> None:
    assert mask(text) == safe


@given(st.text("abcXYZ019:@/#?=%-_.", min_size=6, max_size=20).filter(lambda s: "***" not in s))
def test_no_password_shows_whatever_signs_it_has(password: str) -> None:
    shown = mask(f"cannot connect to amqp://user:x{password}x@broker.example.org:5672//: refused")
    assert f"x{password}x" not in shown
    assert shown.endswith("@broker.example.org:5672//: refused")


@pytest.mark.parametrize("word", ["http://host:80/x,", "a://b:", "a@", ";", ";a", " ", "://", "?", "?pass", "&key="])
def test_a_long_text_takes_no_longer_than_its_length(word: str) -> None:
    """A report of half a megabyte, full of URLs, once held trapd for a minute; systemd ends it after half of one."""
    short, long = (min(_seconds(word * times) for _ in range(3)) for times in (4_000, 64_000))
    assert long < 80 * max(short, 0.0005)


def _seconds(text: str) -> float:
    began = time.process_time()
    mask(text)
    return time.process_time() - began


def test_every_text_of_a_document_is_masked_at_any_depth() -> None:
    document = {"a": [{"b": "amqp://u:secret@h"}, ("amqp://u:secret@h", 1, None, True)], "c": 1.5}
    assert masked(document) == {"a": [{"b": "amqp://u:***@h"}, ["amqp://u:***@h", 1, None, True]], "c": 1.5}
