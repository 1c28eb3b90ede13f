"""Which change counts for a generation, which does not, and the words for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from trapd.content import CELERYCONFIG, INTERPRETER, Content
from trapd.model import Disk, DiskState, Generation
from trapd.rollout import changes
from trapd.rollout.changes import heard, is_installed, recognised, sentence, since, unaffected

BASE = {
    "trap": Content("1.3.0", "t1"),
    "numpy": Content("1.26.4", "n1"),
    "django": Content("5.2.18", "d1"),
    "ipython": Content("8.0", "i1"),
    INTERPRETER: Content("3.11.2", "p1"),
    CELERYCONFIG: Content("", "c1"),
}
REQUIRED = ("numpy", CELERYCONFIG, INTERPRETER, "trap")


def disk(fingerprint: str = "two", other: Mapping[str, Content] = {}, **absent: None) -> Disk:
    table = {name: content for name, content in {**BASE, **other}.items() if name not in absent}
    return Disk(DiskState.SETTLED, fingerprint=fingerprint, distributions=table, required=REQUIRED)


def generation(number: int = 1, loaded: Mapping[str, Content] | None = None) -> Generation:
    made = Generation(number, f"f{number}", {"trap": "1.3.0"}, {}, "", "watch", 0.0)
    return replace(made, distributions=BASE, required=REQUIRED, loaded=loaded or {}, heard=loaded is not None)


def named(name: str, content: Content) -> Disk:
    return disk(other={name: content})


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (named("numpy", Content("2.0.1", "n2")), "numpy 1.26.4 -> 2.0.1"),
        (named("numpy", Content("1.26.4", "n2")), "numpy 1.26.4, other content"),
        (disk(numpy=None), "numpy 1.26.4 -> absent"),
        (named("trap", Content("1.3.0", "t2", "5" * 40)), "trap 1.3.0, commit none -> 55555555"),
        (named(INTERPRETER, Content("3.11.9", "p2")), "python 3.11.2 -> 3.11.9"),
        (named(INTERPRETER, Content("3.11.2", "p2")), "python 3.11.2, other content"),
        (named(CELERYCONFIG, Content("", "c2")), "the celeryconfig changed"),
        (named("trap", Content("1.3.0", "t1", "5" * 40)), ""),
        (named("numpy", Content("1.26.4", "")), ""),
        (named("ipython", Content("9.0", "i2")), ""),
        (named("django", Content("5.2.19", "d2")), ""),
        (disk(django=None, ipython=None), ""),
        (disk(), ""),
    ],
)
def test_what_is_required_counts_and_is_named(now: Disk, words: str) -> None:
    assert sentence(since(generation(), now)) == words
    assert is_installed(generation(), now) is (words == "")


def test_what_a_worker_has_loaded_counts_though_nothing_requires_it() -> None:
    now, loads = named("django", Content("5.2.19", "d2")), generation(loaded={"django": BASE["django"]})
    assert sentence(since(loads, now)) == "django 5.2.18 -> 5.2.19"
    assert not is_installed(loads, now)


def test_what_is_watched_comes_first_and_the_interpreter_last() -> None:
    other = {name: Content("9", "x") for name in BASE}
    found = changes.changes(BASE, {**other, "new": Content("1", "n")}, {*BASE, "new"})
    assert sentence(found, {"trap"}) == (
        "trap 1.3.0 -> 9, django 5.2.18 -> 9, ipython 8.0 -> 9, new absent -> 1, numpy 1.26.4 -> 9,"
        " the celeryconfig changed and 1 more"
    )


def test_a_disk_has_the_name_of_the_generation_that_it_is_as_far_as_it_counts() -> None:
    assert recognised(disk(ipython=None), [generation(2), generation(1)]).fingerprint == "f2"
    newer = replace(generation(2), distributions={**BASE, "numpy": Content("2.0.1", "n2")})
    assert recognised(disk(), [newer, generation(1)]).fingerprint == "f1"
    assert recognised(named("numpy", Content("3", "n3")), [newer, generation(1)]).fingerprint == "two"


def test_two_states_that_differ_only_in_what_was_loaded_have_two_names_whatever_they_were_called() -> None:
    known = [generation(loaded={"django": BASE["django"]})]
    names = [
        recognised(disk(fingerprint, {"django": Content(version, version)}), known).fingerprint
        for fingerprint in ("f1", "two")
        for version in ("5.2.19", "5.2.20")
    ]
    assert names[:2] == names[2:]
    assert len({"f1", *names}) == 3


def test_a_generation_of_a_trapd_without_tables_is_known_by_its_old_fingerprint_and_gets_the_table() -> None:
    old = replace(generation(), fingerprint="old", distributions={}, required=())
    now = replace(disk(), earlier="old")
    assert recognised(now, [old]).fingerprint == "old"
    assert recognised(disk(), [old]).fingerprint == "two"
    met = changes.with_table(old, now)
    assert is_installed(met, disk())
    assert not is_installed(met, named("numpy", Content("1.26.4", "n2")))


def test_what_changed_and_counts_for_nobody_is_told() -> None:
    later = disk(other={"ipython": Content("9.0", "i2"), "black": Content("24", "b")})
    assert sentence(unaffected(disk(), later)) == "black absent -> 24, ipython 8.0 -> 9.0"
    assert unaffected(disk(), replace(later, fingerprint="three")) == ()
    assert unaffected(disk(), disk()) == ()


def test_the_first_report_is_of_what_the_generation_was_made_of() -> None:
    now = named("django", Content("5.2.19", "d2"))
    told = heard(generation(), ["django", "numpy", "unknown"], now)
    assert told.loaded == {"django": BASE["django"], "numpy": BASE["numpy"]}
    assert not is_installed(told, now), "django was replaced while the worker started: it may hold either"


def test_a_late_import_from_the_disk_recycles_nobody_by_itself() -> None:
    now = named("django", Content("5.2.19", "d2"))
    told = heard(heard(generation(), ["numpy"], now), ["numpy", "django"], now, copied=["numpy"])
    assert is_installed(told, now)
    assert sentence(since(told, named("django", Content("5.2.20", "d3")))) == "django 5.2.19 -> 5.2.20"


def test_a_late_import_from_a_generation_is_of_what_that_was_made_of() -> None:
    now = named("django", Content("5.2.19", "d2"))
    told = heard(heard(generation(), ["numpy"], now), ["numpy", "django"], now, copied=["django", "numpy"])
    assert sentence(since(told, now)) == "django 5.2.18 -> 5.2.19"
    assert is_installed(heard(heard(generation(), ["numpy"], now), ["numpy", "django"], now, ["django"]), disk())


def test_what_has_the_name_of_a_generation_is_overtaken_by_a_report_of_what_that_loaded_late() -> None:
    now, first = named("django", Content("5.2.19", "d2")), heard(generation(), ["numpy"], disk())
    settled = recognised(now, [first])
    assert settled.fingerprint == "f1"
    late = heard(first, ["django"], settled, ["django"])
    assert not changes.overtaken(settled, [first], {1})
    assert changes.overtaken(settled, [late], {1})
    assert not changes.overtaken(settled, [late], {2}), "nobody wants that"
    assert not changes.overtaken(settled, [late, replace(first, number=2)], {1}), "it is another one that has this name"
    assert not changes.overtaken(recognised(settled, [late]), [late], {1}), "once"


def test_what_workers_before_had_loaded_counts_until_their_successors_tell() -> None:
    inherited = replace(generation(), loaded={"django": BASE["django"]})
    assert not is_installed(inherited, named("django", Content("5.2.19", "d2")))
    assert heard(inherited, ["numpy"], disk()).loaded == {"numpy": BASE["numpy"]}


def test_the_order_of_reports_does_not_matter_and_the_same_again_is_no_news() -> None:
    first = heard(heard(generation(), ["numpy"], disk()), ["django", "numpy"], disk())
    assert heard(heard(generation(), ["django", "numpy"], disk()), ["numpy"], disk()).loaded == first.loaded
    assert heard(first, ["django"], disk()) is first
    assert heard(first, [], disk()) is first
    assert heard(first, ["unknown"], disk()) is first
