"""What is kept from look to look."""

from __future__ import annotations

from trapd.watch.recall import Recall


def test_a_look_that_comes_to_its_end_forgets_what_it_did_not_ask_for() -> None:
    recall = Recall[str, int]()
    recall.set("numpy", 1)
    recall.set("trap", 2)
    recall.begin()
    assert (recall.now("numpy"), recall.earlier("numpy")) == (None, 1)
    recall.set("numpy", 3)
    recall.end()
    recall.begin()
    assert (recall.earlier("numpy"), recall.earlier("trap")) == (3, None)


def test_looks_that_break_off_forget_nothing() -> None:
    recall = Recall[str, int]()
    recall.set("numpy", 1)
    for _ in range(2):
        recall.begin()
    assert recall.earlier("numpy") == 1
    recall.set("numpy", 3)
    recall.begin()
    assert recall.earlier("numpy") == 3, "the younger one"


def test_all_can_be_forgotten() -> None:
    recall = Recall[str, int]()
    recall.set("numpy", 1)
    recall.begin()
    recall.set("trap", 2)
    recall.clear()
    assert (recall.earlier("numpy"), recall.now("trap")) == (None, None)
