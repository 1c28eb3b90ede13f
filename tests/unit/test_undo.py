"""Undo and revert: code goes back, and the celeryconfig in force, password and all, stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.fake_backend import FakeBackend
from tests.support.fake_snapshots import CONFIG, FakeSnapshots
from tests.unit.test_controller import triggers
from trapd.content import CELERYCONFIG, Content
from trapd.errors import RefusedError
from trapd.model import Disk, DiskState, InstanceId, TreeFile
from trapd.rollout import intent, want
from trapd.rollout.actions import Finish, Promote, Reject, Renew, Verdict
from trapd.rollout.celeryconfig import INSTALLED
from trapd.rollout.intent import CopyOf, Nothing
from trapd.spec import OnFailure
from trapd.triggers import Triggers


def disk(code: str, config: str) -> Disk:
    return Disk(
        DiskState.SETTLED,
        fingerprint=f"{code} {config}",
        versions={"pkg": code},
        files=(
            TreeFile("code/pkg.py", "/site/pkg.py", code),
            TreeFile(CONFIG, "/etc/celeryconfig.py", config),
        ),
        distributions={"pkg": Content(code, code), CELERYCONFIG: Content("", config)},
        required=("pkg", CELERYCONFIG),
    )


class Story:
    """One pool, of which a test says what is installed and how that turns out."""

    def __init__(self) -> None:
        self.orders: Triggers = triggers()
        self.known = self.orders.controller
        assert isinstance(self.known.snapshots, FakeSnapshots)
        self.snapshots = self.known.snapshots

    async def installed(self, code: str, config: str, *, good: bool = True) -> None:
        await self.orders.disk_changed(disk(code, config))
        self.ends(good=good)

    def ends(self, *, good: bool) -> None:
        """The rollout under way."""
        state, generations = self.known.state("p"), self.known.generations
        number = state.wanted or 0
        verdicts: list[Verdict] = [Promote(number, ""), Finish(number, "")] if good else [Reject(number, "it raised")]
        for verdict in verdicts:
            state = want.decide(state, verdict, generations, OnFailure.REVERT, 5.0)
        self.known.states["p"] = state

    @property
    def left_behind(self) -> Nothing | CopyOf:
        return intent.left_behind(self.known.situation("p"))

    async def renewed(self, *, good: bool) -> None:
        """As the next pass does it."""
        what = self.left_behind
        assert isinstance(what, CopyOf)
        assert self.known.renew is not None
        await self.known.renew("p", Renew(what.generation, what.why))
        self.ends(good=good)

    def runs(self) -> tuple[str, str]:
        """Code and celeryconfig of what is wanted, as its files have them."""
        files = self.snapshots.kept[self.known.state("p").wanted or 0]
        return files["code/pkg.py"].decode(), files[CONFIG].decode()


async def rotated() -> Story:
    """1.0, then 2.0, then the password was replaced; all of it was good."""
    story = Story()
    await story.installed("1.0", "old")
    await story.installed("2.0", "old")
    await story.installed("2.0", "new")
    return story


async def test_undo_takes_code_back_and_not_the_password() -> None:
    story = await rotated()
    undo = await story.orders.undo("p", actor="ann")
    assert story.runs() == ("1.0", "new")
    assert undo.reason == "undo of generation 3: pkg 2.0 -> 1.0"
    assert isinstance(story.left_behind, Nothing)
    assert story.known.state("p").wanted in story.known.state("p").good, "no canary: both were good"


async def test_undo_with_settings_takes_both_back_and_they_stay_back() -> None:
    story = await rotated()
    await story.orders.undo("p", actor="ann", to=1, settings=True)
    assert story.runs() == ("1.0", "old")
    story.ends(good=True)
    assert isinstance(story.left_behind, Nothing)
    assert await story.orders.disk_changed(disk("2.0", "new")) == []


async def test_undo_of_a_celeryconfig_alone_has_to_be_asked_for() -> None:
    story = Story()
    await story.installed("1.0", "old")
    await story.installed("1.0", "new")
    with pytest.raises(RefusedError, match=r"generation 1 has the same code, and another celeryconfig; .* --settings"):
        await story.orders.undo("p", actor="ann")
    await story.orders.undo("p", actor="ann", settings=True)
    assert story.runs() == ("1.0", "old")
    story.ends(good=True)
    assert isinstance(story.left_behind, Nothing)
    (cured,) = await story.orders.disk_changed(disk("1.0", "newer"))
    assert cured.reason == "the celeryconfig changed"


async def test_code_that_was_undone_stays_undone_when_a_password_is_replaced() -> None:
    story = Story()
    await story.installed("1.0", "old")
    await story.installed("2.0", "old")
    await story.orders.undo("p", actor="ann")
    story.ends(good=True)
    assert await story.orders.disk_changed(disk("2.0", "new")) == []
    assert story.left_behind == CopyOf(3, intent.OTHER_CELERYCONFIG, INSTALLED)
    await story.renewed(good=True)
    assert story.runs() == ("1.0", "new")
    assert isinstance(story.left_behind, Nothing)


async def test_after_a_rejection_the_good_code_gets_the_celeryconfig_that_came_with_the_bad_one() -> None:
    story = Story()
    await story.installed("1.0", "old")
    await story.installed("2.0", "new", good=False)
    assert story.runs() == ("1.0", "old"), "for its workers run"
    await story.renewed(good=True)
    assert story.runs() == ("1.0", "new"), "which a canary proved"


async def test_a_celeryconfig_that_breaks_the_good_code_too_is_tried_once_and_the_old_one_serves() -> None:
    story = Story()
    await story.installed("1.0", "old")
    await story.installed("2.0", "broken", good=False)
    await story.renewed(good=False)
    assert story.runs() == ("1.0", "old")
    assert isinstance(story.left_behind, Nothing)
    assert await story.orders.disk_changed(disk("1.0", "broken")) == [], "that was tried"


async def test_after_a_rejection_there_is_nothing_to_undo_and_the_way_further_back_is_named() -> None:
    story = Story()
    await story.installed("1.0", "c")
    await story.installed("2.0", "c")
    await story.installed("3.0", "c", good=False)
    with pytest.raises(RefusedError) as told:
        await story.orders.undo("p", actor="ann")
    assert str(told.value) == (
        "nothing to undo: pkg 3.0 was rejected, pkg 2.0 serves; to go back to pkg 1.0: trapctl rollout undo p --to 1"
    )
    undo = await story.orders.undo("p", actor="ann", to=1)
    assert undo.reason == "undo of generation 2: pkg 2.0 -> 1.0"
    assert story.runs()[0] == "1.0"


def library(version: str) -> Disk:
    """The same code beside another version of what it requires."""
    installed = disk("1.0", "c")
    return replace(
        installed,
        fingerprint=f"keel {version}",
        distributions={**installed.distributions, "keel": Content(version, version)},
        required=("pkg", "keel", CELERYCONFIG),
    )


async def test_undo_names_the_library_where_only_that_was_another() -> None:
    story = Story()
    for version in ("1.0", "2.0", "3.0"):
        await story.orders.disk_changed(library(version))
        story.ends(good=version != "3.0")
    with pytest.raises(RefusedError) as told:
        await story.orders.undo("p", actor="ann")
    assert str(told.value) == (
        "nothing to undo: pkg 1.0 with keel 2.0 -> 3.0 was rejected, pkg 1.0 serves; "
        "to go back to pkg 1.0 with keel 2.0 -> 1.0: trapctl rollout undo p --to 1"
    )
    assert (await story.orders.undo("p", actor="ann", to=1)).reason == "undo of generation 2: keel 2.0 -> 1.0"


async def test_what_was_rejected_and_taken_back_is_history_for_undo_too() -> None:
    story = Story()
    await story.installed("1.0", "c")
    await story.installed("2.0", "c")
    await story.installed("3.0", "c", good=False)
    await story.orders.disk_changed(disk("2.0", "c"))
    await story.orders.undo("p", actor="ann")
    assert story.runs()[0] == "1.0"


async def test_what_cannot_start_any_more_is_not_offered() -> None:
    story = Story()
    for code in ("1.0", "2.0", "3.0"):
        await story.installed(code, "c")
    story.snapshots.flaws[2] = "its interpreter /venv/bin/python is gone"
    with pytest.raises(RefusedError, match="cannot undo p: generation 2 cannot start: its interpreter"):
        await story.orders.undo("p", actor="ann", to=2)
    await story.orders.undo("p", actor="ann")
    assert story.runs()[0] == "1.0"


@pytest.mark.parametrize(
    ("to", "words"),
    [(9, "there is no generation 9; see trapctl generations"), (3, "generation 3, which serves, has the code of")],
)
async def test_a_generation_that_makes_no_sense_is_refused(to: int, words: str) -> None:
    story = await rotated()
    with pytest.raises(RefusedError, match=words):
        await story.orders.undo("p", actor="ann", to=to)


async def halfway(*ready: str, verdict: Verdict | None = None) -> Story:
    """1.0 was good; 2.0 and a new password came together, and it is not over. ``ready``: workers, as "1-1"."""
    story = Story()
    await story.installed("1.0", "old")
    await story.orders.disk_changed(disk("2.0", "new"))
    if verdict is not None:
        story.known.states["p"] = want.decide(
            story.known.state("p"), verdict, story.known.generations, OnFailure.REVERT, 5.0
        )
    for name in ready:
        await story.known.backend.start(InstanceId.parse(f"p@{name}"))
    assert isinstance(story.known.backend, FakeBackend)
    story.known.backend.advance(story.known.clock.now() + 10)
    return story


async def test_undo_of_a_canary_keeps_the_workers_that_run_with_their_celeryconfig() -> None:
    story = await halfway("1-1", "2-1")
    assert (await story.orders.undo("p", actor="ann")).generation == 1
    assert story.runs() == ("1.0", "old")
    assert story.left_behind == CopyOf(1, intent.OTHER_CELERYCONFIG, INSTALLED), "and then a canary tries the new one"


@pytest.mark.parametrize("good", [True, False])
async def test_undo_in_a_rollout_does_not_bring_back_a_password_that_no_worker_serves_with(good: bool) -> None:
    """Found by reading: what had begun to fail after the last worker with the old password was gone went back to it."""
    story = await halfway("2-1", verdict=Promote(2, "") if good else None)
    undo = await story.orders.undo("p", actor="ann")
    assert story.runs() == ("1.0", "new")
    assert undo.reason == "undo of generation 2: pkg 2.0 -> 1.0"
    state = story.known.state("p")
    assert (state.wanted in state.good) is good, "a canary tries it if the new celeryconfig is not proven"
    assert isinstance(story.left_behind, Nothing)


async def test_undo_of_what_is_good_already_does_not_bring_back_its_password_either() -> None:
    story = await halfway("1-1", "2-1", verdict=Promote(2, ""))
    await story.orders.undo("p", actor="ann")
    assert story.runs() == ("1.0", "new")


async def test_what_never_was_good_needs_a_canary() -> None:
    story = await rotated()
    story.known.states["p"] = replace(story.known.state("p"), good=(2, 3))
    await story.orders.undo("p", actor="ann", to=1)
    assert story.known.state("p").wanted not in story.known.state("p").good
