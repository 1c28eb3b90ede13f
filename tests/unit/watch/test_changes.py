"""The watch as a whole: real files and real events, an interpreter that only pretends, and short quiet periods."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.site_packages import install, install_editable, make_old, uninstall
from trapd.errors import HistoryError, SnapshotError
from trapd.model import Disk, DiskState
from trapd.mount_table import Mount
from trapd.settings.document import trust
from trapd.watch import Watch, changes, observer
from trapd.watch.mounts import MountEvents
from trapd.watch.places import Places
from trapd.watch.probe import MARK
from trapd.watch.survey import Survey, Surveyor

QUIET, CEILING = 0.1, 0.6
FILES = {"trap/__init__.py": "x = 1\n", "trap/run.py": "y = 2\n"}


class Clock:
    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class Home:
    """An application, a watch on it, and what the watch told."""

    def __init__(
        self,
        home: Path,
        *,
        full_look: float = 300,
        ceiling: float = CEILING,
        quiet_period: float = QUIET,
        paths: Mapping[str, str] = {},
    ) -> None:
        self.home, self.site, self.celeryconfig = home, home / "site-packages", home / "celeryconfig.py"
        self.celeryconfig.write_text("broker_url = 'redis://'\n")
        install(self.site, "trap", "1.3.0", FILES)
        make_old(self.celeryconfig)
        self.python = home / "python"
        self.python.write_text(f"#!/bin/sh\n{self.says(self.site)}")
        self.python.chmod(0o755)
        self.hurried = quiet_period > QUIET
        self.refuse: list[Exception] = []
        self.told: asyncio.Queue[Disk] = asyncio.Queue()
        self.troubled: list[list[str]] = []
        self.watch = Watch(
            python=self.python,
            celeryconfig=self.celeryconfig,
            distributions=["trap"],
            quiet_period=quiet_period,
            ceiling=ceiling,
            clock=Clock(),
            on_disk=self._on_disk,
            trust=trust,
            full_look=full_look,
            paths=paths,
            on_trouble=lambda: self.troubled.append(self.watch.troubles()),
        )

    def says(self, *paths: Path, editable: Mapping[str, Path] = {}) -> str:
        """What an interpreter that imports from there answers, as a line of shell."""
        mapped = {name: str(path) for name, path in editable.items()}
        about = {"identity": "python", "version": "3.11.2", "prefix": str(self.home), "standard": []}
        where = {"paths": [*map(str, paths)], "editable": mapped, **about}
        return f"echo '{MARK}{json.dumps(where)}'; echo '{MARK}{{\"eager\": true}}'\n"

    def make_editable(self) -> Path:
        """Instead of the wheel an editable install; returns its source tree."""
        uninstall(self.site, "trap")
        package = self.home / "tree/src/trap"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        make_old(package)
        install_editable(self.site, self.home / "tree", "trap", "1.4.dev0")
        return self.home / "tree"

    async def _on_disk(self, disk: Disk) -> None:
        assert disk is self.watch.disk
        if disk.state is DiskState.TENTATIVE and not self.hurried:
            return  # with a quiet period this short it comes by chance
        await self.told.put(disk)
        if self.refuse and disk.state is DiskState.SETTLED:
            raise self.refuse.pop()

    async def next(self, state: DiskState) -> Disk:
        """The next thing told, which must be in this state."""
        async with asyncio.timeout(5):
            disk = await self.told.get()
        assert disk.state is state, disk.reason
        return disk

    async def first(self, state: DiskState) -> Disk:
        """The first thing told that is in this state; passes over the others."""
        async with asyncio.timeout(5):
            while (disk := await self.told.get()).state is not state:
                pass
        return disk

    async def settled(self) -> Disk:
        """Passes over everything until it has settled."""
        return await self.first(DiskState.SETTLED)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def watched(home: Home) -> AsyncIterator[Home]:
    """The home while it is watched; fails where more was told than the test took."""
    async with home.watching():
        yield home
    assert home.told.empty()


def write(path: Path, text: str) -> Awaitable[int]:
    return asyncio.to_thread(path.write_text, text)


async def test_what_is_there_and_whole_settles_at_once(tmp_path: Path) -> None:
    async with watched(Home(tmp_path)) as home:
        disk = await home.next(DiskState.SETTLED)
        assert disk.versions == {"trap": "1.3.0"}
        assert disk.eager
        assert {file.path for file in disk.files} >= {"code/trap/run.py", "etc/celeryconfig.py"}


async def test_a_change_is_told_when_it_begins_and_when_it_has_settled(tmp_path: Path) -> None:
    async with watched(Home(tmp_path)) as home:
        before = await home.next(DiskState.SETTLED)
        await write(home.celeryconfig, "broker_url = 'amqp://'\n")
        changing = await home.next(DiskState.CHANGING)
        assert changing.reason == f"{home.celeryconfig} changed"
        assert (changing.fingerprint, changing.files) == ("", ())
        after = await home.next(DiskState.SETTLED)
        assert after.fingerprint != before.fingerprint


async def test_what_an_installer_leaves_is_told_before_the_quiet_period_is_over(tmp_path: Path) -> None:
    """It was too fast to be seen at work; its metadata is heard, and its RECORD is true."""
    async with watched(Home(tmp_path, quiet_period=1.0, ceiling=60)) as home:
        await home.settled()
        await asyncio.to_thread(install, home.site, "trap", "1.4.0", FILES)
        early = await home.first(DiskState.TENTATIVE)
        assert (early.versions, early.whole) == ({"trap": "1.4.0"}, True)
        after = await home.next(DiskState.SETTLED)
        assert after == replace(early, state=DiskState.SETTLED)


async def test_what_an_editor_writes_waits_for_the_quiet_period(tmp_path: Path) -> None:
    async with watched(Home(tmp_path, quiet_period=0.3, ceiling=60)) as home:
        await home.settled()
        await write(home.celeryconfig, "broker_url = 'amqp://'\n")
        await home.next(DiskState.CHANGING)
        await home.next(DiskState.SETTLED)


async def test_an_upgrade_is_one_change_and_the_new_folder_is_watched_like_the_old(tmp_path: Path) -> None:
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        await asyncio.to_thread(install, home.site, "trap", "1.4.0", {**FILES, "trap/sub/__init__.py": ""})
        assert (await home.settled()).versions == {"trap": "1.4.0"}
        await asyncio.to_thread((home.site / "trap/sub/new.txt").write_text, "new")
        assert (await home.next(DiskState.CHANGING)).reason == f"{home.site}/trap/sub/new.txt changed"
        assert "code/trap/sub/new.txt" in {file.path for file in (await home.next(DiskState.SETTLED)).files}


async def test_an_environment_that_is_replaced_by_name_is_noticed_and_watched_like_the_old(tmp_path: Path) -> None:
    """Two renames, blue and green: in the folders that were watched nothing at all happens."""
    (tmp_path / "srv/venv").mkdir(parents=True)
    home = Home(tmp_path / "srv/venv")

    async with watched(home) as home:
        await home.next(DiskState.SETTLED)
        new = tmp_path / "srv/new"
        shutil.copytree(home.home, new, symlinks=True)
        await asyncio.to_thread(install, new / "site-packages", "trap", "1.4.0", FILES)
        make_old(new / "site-packages")
        await asyncio.to_thread(home.home.rename, tmp_path / "srv/old")
        await asyncio.to_thread(new.rename, home.home)
        assert (await home.next(DiskState.CHANGING)).reason == f"{home.home} changed"
        assert (await home.settled()).versions == {"trap": "1.4.0"}
        await write(home.site / "trap/new.txt", "new")
        assert (await home.next(DiskState.CHANGING)).reason == f"{home.site}/trap/new.txt changed"
        await home.settled()


async def test_an_environment_behind_a_link_that_is_switched_is_noticed(tmp_path: Path) -> None:
    link = tmp_path / "opt/trap"
    (tmp_path / "opt/trap-1.3").mkdir(parents=True)
    link.symlink_to("trap-1.3")

    async with watched(Home(link)) as home:
        await home.next(DiskState.SETTLED)
        new = tmp_path / "opt/trap-1.4"
        shutil.copytree(home.home, new, symlinks=True)
        await asyncio.to_thread(install, new / "site-packages", "trap", "1.4.0", FILES)
        link.with_name("next").symlink_to(new.name)
        await asyncio.to_thread(link.with_name("next").rename, link)
        assert (await home.first(DiskState.CHANGING)).reason == f"{link} changed"
        assert (await home.settled()).versions == {"trap": "1.4.0"}


async def test_a_change_without_effect_is_logged_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trapd.watch")

    async with watched(Home(tmp_path)) as home:
        before = await home.next(DiskState.SETTLED)
        await write(home.site / "trap/run.py", FILES["trap/run.py"])
        await home.next(DiskState.CHANGING)
        assert (await home.next(DiskState.SETTLED)).fingerprint == before.fingerprint
    assert caplog.messages[-1].startswith("no effect: the content is the same as before")


async def test_what_stays_unfinished_is_broken_at_the_ceiling_and_cured_by_the_next_change(tmp_path: Path) -> None:
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        began = time.monotonic()
        await asyncio.to_thread((home.site / "~rap").mkdir)
        await home.next(DiskState.CHANGING)
        reason = (await home.next(DiskState.CHANGING)).reason
        assert "pip is replacing trap, or was killed" in reason
        broken = await home.next(DiskState.BROKEN)
        assert broken.reason == reason
        assert broken.versions == {"trap": "1.3.0"}
        assert CEILING <= time.monotonic() - began < CEILING + 1
        await asyncio.to_thread((home.site / "~rap").rmdir)
        await home.settled()


async def test_a_distribution_that_is_missing_at_the_start_is_broken_until_it_comes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    uninstall(home.site, "trap")

    async with watched(home) as home:
        assert "install it there" in (await home.next(DiskState.BROKEN)).reason
        await asyncio.to_thread(install, home.site, "trap", "1.3.0", FILES)
        await home.settled()


@pytest.mark.parametrize("moved", [".", "src", "src/trap"])
@pytest.mark.parametrize("how", ["by path", "by finder"])
async def test_an_editable_install_whose_tree_was_away_is_whole_when_it_is_back(
    tmp_path: Path, how: str, moved: str
) -> None:
    home = Home(tmp_path, ceiling=60)
    tree = home.make_editable()
    mapped = {"trap": tree / "src/trap"} if how == "by finder" else {}
    paths = [home.site] if mapped else [home.site, tree / "src"]
    home.python.write_text(f"#!/bin/sh\n{home.says(*paths, editable=mapped)}")
    place = tree / moved

    async with watched(home) as home:
        before = await home.next(DiskState.SETTLED)
        await asyncio.to_thread(place.rename, tmp_path / "aside")
        await write(home.celeryconfig, home.celeryconfig.read_text())  # so that it looks, whatever of this is heard
        assert "none of its files can be found" in (await home.first(DiskState.BROKEN)).reason
        await asyncio.to_thread((tmp_path / "aside").rename, place)
        assert (await home.settled()).fingerprint == before.fingerprint


async def test_an_interpreter_that_was_asked_while_a_tree_was_away_is_asked_again(tmp_path: Path) -> None:
    """Lines of code in path files, say, may leave out what is not there: nothing tells that this answer is old."""
    home = Home(tmp_path)
    tree = home.make_editable()
    without, whole = home.says(home.site), home.says(home.site, tree / "src")
    home.python.write_text(f"#!/bin/sh\nif [ -d {tree} ]; then {whole}else {without}fi\n")
    tree.rename(tmp_path / "aside")

    async with watched(home) as home:
        assert "none of its files can be found" in (await home.next(DiskState.BROKEN)).reason
        await asyncio.to_thread((tmp_path / "aside").rename, tree)
        await home.settled()


async def test_a_celeryconfig_that_everybody_may_write_is_neither_executed_nor_rolled_out(tmp_path: Path) -> None:
    """It was only refused when trapd read its settings: what was written to it later ran as trapd and its workers."""
    home = Home(tmp_path)
    home.python.write_text(f"#!/bin/sh\ncat {home.celeryconfig} >> {tmp_path}/executed\n{home.says(home.site)}")

    async with watched(home) as home:
        before = await home.next(DiskState.SETTLED)
        home.celeryconfig.chmod(0o666)
        await write(home.celeryconfig, "import evil\n")
        reason = (await home.first(DiskState.BROKEN)).reason
        assert "everybody may write it (mode 0666); chmod o-w" in reason
        assert before.versions == home.watch.disk.versions, "what else is known is known all the same"
        assert "evil" not in (tmp_path / "executed").read_text()
        await write(home.celeryconfig, "broker_url = 'redis://'\n")
        home.celeryconfig.chmod(0o644)  # which nobody hears: the next look while it is broken finds it
        assert (await home.settled()).fingerprint == before.fingerprint


async def test_what_could_not_be_copied_has_to_settle_again_and_is_told_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.refuse = [SnapshotError("cannot copy a: it has changed"), HistoryError("cannot copy b: no space left")]

    async with watched(home) as home:
        told = [await home.next(DiskState.SETTLED)]
        for reason in ("cannot copy b: no space left", "cannot copy a: it has changed"):
            assert (await home.next(DiskState.CHANGING)).reason == reason
            told.append(await home.next(DiskState.SETTLED))
        assert len({disk.fingerprint for disk in told}) == 1
    assert home.troubled == [["cannot copy b: no space left"], ["cannot copy a: it has changed"], []]


async def test_files_are_all_read_again_only_where_their_times_may_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is written through a mapping has the times of its first change; another machine's come late."""
    home, anew = Home(tmp_path), list[bool]()

    def look(self: Surveyor, *args: Any, fresh: bool, inner: Any = Surveyor.look, **more: Any) -> Survey:
        anew.append(fresh)
        found: Survey = inner(self, *args, fresh=fresh, **more)
        return found

    monkeypatch.setattr(Surveyor, "look", look)
    home.refuse = [SnapshotError("cannot copy a: it has changed since it was looked at")]
    async with watched(home) as home:
        await home.next(DiskState.SETTLED)
        assert not any(anew)
        await home.next(DiskState.CHANGING)
        await home.next(DiskState.SETTLED)
        assert anew.count(True) == 1
        anew.clear()
        monkeypatch.setattr(changes, "silent", lambda mounts: "over a network")
        await home.watch.look()
        assert anew == [True]


async def test_content_that_changed_unheard_is_found_by_the_regular_look(tmp_path: Path) -> None:
    """Nothing was heard: what stat(2) says of it tells."""
    home = Home(tmp_path, full_look=0.1)
    pipe = home.site / "trap/run.py"
    hidden = tmp_path / "hidden.py"
    hidden.hardlink_to(pipe)  # writing to another name of the file is not heard in the watched folder

    async with watched(home) as home:
        await home.next(DiskState.SETTLED)
        await asyncio.to_thread((home.site / "trap-1.3.0.dist-info/RECORD").write_text, "trap/__init__.py,,\n")
        await asyncio.to_thread(hidden.write_text, "y = 3\n")
        assert (await home.next(DiskState.CHANGING)).reason == "files changed"
        await home.next(DiskState.SETTLED)


async def test_an_observer_that_starts_while_the_watch_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that failed in its first moments left one, with its threads."""
    begun, go_on, stopped = threading.Event(), threading.Event(), threading.Event()

    class Slow(StandIn):
        def __init__(self, tell: Callable[[str], None], *, on_overflow: Callable[[], None]) -> None:
            super().__init__(tell, on_overflow=on_overflow)
            begun.set()
            go_on.wait()

        def stop(self) -> None:
            stopped.set()

    monkeypatch.setattr(observer, "Observer", Slow)
    watching = asyncio.create_task(Home(tmp_path).watch.run())
    await asyncio.to_thread(begun.wait)
    watching.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert stopped.is_set()


async def test_where_nobody_reports_changes_looks_come_oftener_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [Mount(Path("/"), "nfs4", ())]
    monkeypatch.setattr(changes, "read", lambda: mounts)
    monkeypatch.setattr(changes, "SILENT_LOOK", 0.2)
    monkeypatch.setattr(changes, "COST", 0)
    monkeypatch.setattr(observer, "Observer", StandIn)  # it hears nothing
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        assert home.watch.warnings() == ["changes are looked for every 0.2 s: / is on nfs4"]
        assert not home.watch.hears
        await write(home.celeryconfig, "broker_url = 'amqp://'\n")
        await home.next(DiskState.CHANGING)
        await home.next(DiskState.SETTLED)
        monkeypatch.setattr(changes, "COST", 1e9)
        assert home.watch._interval() == 300, "no oftener than a look allows"
        mounts[:] = [Mount(Path("/"), "ext4", ())]
        await home.watch.look()
        assert home.watch.warnings() == []
        assert home.watch.hears


@pytest.mark.parametrize(("cost", "seconds"), [(0.01, 30), (1.0, 100), (10.0, 300)])
async def test_a_look_comes_no_oftener_than_100_times_what_it_costs_and_at_least_every_5_min(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float, seconds: float
) -> None:
    monkeypatch.setattr(changes, "read", lambda: [Mount(Path("/"), "nfs4", ())])
    monkeypatch.setattr(observer, "Observer", StandIn)
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        home.watch._cost = cost
        assert home.watch._interval() == seconds


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse", "fuse.sshfs", "virtiofs"])
async def test_where_nobody_reports_changes_looks_come_every_30_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = [Mount(Path("/"), kind, ())]
    monkeypatch.setattr(changes, "read", lambda: mounts)
    monkeypatch.setattr(changes, "COST", 0)  # a busy machine takes long for a look
    monkeypatch.setattr(observer, "Observer", StandIn)
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        assert home.watch.mode() == f"changes are looked for every 30 s: / is on {kind}"
        assert home.watch._due() == home.watch._fully_looked + 30
        mounts[:] = [Mount(Path("/"), "overlay", ())]  # whose changes are heard
        await home.watch.look()
        assert home.watch.mode() == ""
        assert home.watch._due() == home.watch._fully_looked + 300


async def test_a_mount_under_what_is_watched_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [Mount(Path("/"), "ext4", ())]
    monkeypatch.setattr(changes, "read", lambda: mounts)
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        with contextlib.closing(MountEvents()) as events:
            mounts.append(Mount(Path("/elsewhere"), "tmpfs", ()))
            home.watch._mounts_changed(events)
            assert home.watch.disk.state is DiskState.SETTLED
            mounts.append(Mount(home.site / "trap", "ext4", ()))
            home.watch._mounts_changed(events)
        assert (await home.next(DiskState.CHANGING)).reason == f"{home.site}/trap was mounted or unmounted"
        await home.next(DiskState.SETTLED)


async def test_a_watch_that_could_not_listen_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(tell: object, *, on_overflow: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(observer, "Observer", none_left)
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        monkeypatch.setattr(observer, "Observer", StandIn)
        await home.watch.look()
        assert len(home.troubled) == 2
        assert home.troubled[-1] == []


async def test_a_look_by_request_reads_everything_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.watch.disk.state is DiskState.CHANGING
    first = await home.watch.look()
    assert first.state is DiskState.SETTLED
    await write(home.celeryconfig, "broker_url = 'amqp://'\n")
    assert (await home.watch.look()).state is DiskState.CHANGING


async def test_whoever_asked_for_a_look_may_rely_on_it_that_what_it_saw_is_known(tmp_path: Path) -> None:
    """`trapctl rollout status` right after pip: no event has come, and the watch itself need not even run."""
    home = Home(tmp_path)
    await home.watch.look()
    assert home.told.get_nowait().state is DiskState.SETTLED
    await write(home.celeryconfig, "broker_url = 'amqp://'\n")
    await home.watch.look()
    assert home.told.get_nowait().state is DiskState.CHANGING


async def test_a_look_is_shared_by_all_who_asked_before_it_began_and_outlives_each(tmp_path: Path) -> None:
    home = Home(tmp_path)
    looks: list[float] = []
    look = home.watch._surveyor.look

    def counted(*arguments: object, **more: object) -> Survey:
        looks.append(time.monotonic())
        return look(*arguments, **more)  # type: ignore[arg-type]

    home.watch._surveyor.look = counted  # type: ignore[method-assign]
    async with home.watch._looking:  # one is under way
        asked = [asyncio.create_task(home.watch.look()) for _ in range(10)]
        await asyncio.sleep(0)
        asked[0].cancel()
    assert [disk.state for disk in await asyncio.gather(*asked[1:])] == [DiskState.SETTLED] * 9
    assert asked[0].cancelled()
    assert len(looks) == 1


async def test_a_cancellation_that_comes_together_with_an_event_is_not_lost(tmp_path: Path) -> None:
    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        await home.watch.look()  # wakes the watch in the same turn of the loop in which it is cancelled


async def test_without_any_inotify_it_still_looks_regularly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(tell: object, *, on_overflow: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(observer, "Observer", none_left)

    async with watched(Home(tmp_path, full_look=0.1)) as home:
        await home.next(DiskState.SETTLED)
        await write(home.celeryconfig, "broker_url = 'amqp://'\n")
        await home.next(DiskState.CHANGING)
        await home.next(DiskState.SETTLED)
        assert home.troubled == [
            [
                "cannot watch any folder: too many open files; raise fs.inotify.max_user_instances; until then changes "
                "are found only every 30 s"
            ]
        ]
    assert caplog.text.count("cannot watch any folder") == 1, "and it tried again at each look"


async def test_code_on_pythonpath_that_workers_do_not_run_is_a_warning_until_it_is_removed(tmp_path: Path) -> None:
    home = Home(tmp_path, paths={"[pools.default] environment": str(tmp_path / "folder")})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/trap.py").touch()
    async with watched(home):
        await home.next(DiskState.SETTLED)
        (warning,) = home.watch.warnings()
        assert warning.startswith(f"workers do not run trap in {tmp_path}/folder: they run trap in {home.site}, ")
        (tmp_path / "folder/trap.py").unlink()
        await home.watch.look()
        assert home.watch.warnings() == []


class StandIn:
    """Instead of an observer: hears only what a test tells, and remembers how it was armed."""

    incomplete, deaf = False, ""

    def __init__(self, tell: Callable[[str], None], *, on_overflow: Callable[[], None]) -> None:
        self.tell, self.overflow, self.renewals = tell, on_overflow, list[bool]()
        StandIn.last = self

    last: StandIn

    def arm(self, places: Places, *, renew: bool) -> frozenset[Path]:
        self.renewals.append(renew)
        return frozenset()

    def stop(self) -> None:
        pass


async def test_the_first_look_after_an_event_watches_all_trees_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes a folder and makes it again may get the same inode: its watch would be gone unnoticed."""
    monkeypatch.setattr(observer, "Observer", StandIn)

    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        StandIn.last.tell("trap/run.py")
        assert (await home.next(DiskState.CHANGING)).reason == "trap/run.py changed"
        await home.next(DiskState.SETTLED)
        first, second, *later = StandIn.last.renewals  # a slow machine needs no third look
        assert (first, second, any(later)) == (False, True, False)


async def test_requirements_that_were_never_satisfied_are_warnings_of_the_first_few(tmp_path: Path) -> None:
    home = Home(tmp_path)
    install(home.site, "trap", "1.3.0", FILES, requires=["absent"])
    async with watched(home) as home:
        await home.settled()
        (warning,) = home.watch.warnings()
        assert warning.startswith("trap requires absent")
        assert warning.endswith("; it is taken as it is")
        home.watch._warn({f"trap requires absent{n}": f"trap requires absent{n}; install it" for n in range(9)})
        assert home.watch.warnings()[0] == "trap requires absent0; it is taken as it is"
        assert home.watch.warnings()[3:] == ["6 more are not whole: trapctl check names them"]


async def test_lost_events_are_a_reason_to_look_at_everything_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "Observer", StandIn)

    async with watched(Home(tmp_path)) as home:
        await home.next(DiskState.SETTLED)
        await write(home.celeryconfig, "broker_url = 'amqp://'\n")  # unheard
        StandIn.last.overflow()
        assert (await home.next(DiskState.CHANGING)).reason == "the kernel dropped notices of changes"
        await home.next(DiskState.SETTLED)
        assert StandIn.last.renewals[1]


async def test_what_is_broken_and_gets_whole_unheard_is_found_within_a_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "Observer", StandIn)
    home = Home(tmp_path)
    (home.site / "trap").rename(tmp_path / "trap")
    uninstall(home.site, "trap")

    async with watched(home) as home:
        await home.next(DiskState.BROKEN)
        await asyncio.to_thread(install, home.site, "trap", "1.3.0", FILES)
        await home.settled()


async def test_a_fault_of_whoever_is_told_ends_the_watch_and_its_threads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.refuse = [RuntimeError("a fault")]

    with pytest.raises(RuntimeError, match="a fault"):
        await home.watch.run()
