"""What is heard, and what is not. Each silence is proved by the noise after it being the first thing heard."""

from __future__ import annotations

import errno
import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.events import DirCreatedEvent
from watchdog.observers import Observer as WatchdogObserver
from watchdog.observers.api import BaseObserver, EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter

from trapd.watch.observer import Observer, _Handler
from trapd.watch.places import Places

PATIENCE = 60  # seconds until a missing event fails a test


class Listener:
    """An observer and the paths that it told."""

    def __init__(self) -> None:
        self.told: queue.Queue[str] = queue.Queue()
        self.observer = Observer(self.told.put)

    def hears(self, path: Path) -> None:
        assert self.told.get(timeout=PATIENCE) == str(path)

    def hears_at_last(self, path: Path) -> None:
        """Whatever else comes before it."""
        while self.told.get(timeout=PATIENCE) != str(path):
            pass


@pytest.fixture
def ears() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.observer.stop()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "site-packages/trap"
    (tree / "sub").mkdir(parents=True)
    (tree / "run.py").write_text("x = 1\n")
    return tree


def shape(tree: Path) -> frozenset[tuple[str, int]]:
    return frozenset((str(path), path.stat().st_ino) for path in [tree, *tree.rglob("*/")])


def as_tree(tree: Path) -> Places:
    return Places(trees={tree: shape(tree)})


def write(tree: Path) -> Path:
    (tree / "run.py").write_text("x = 2\n")
    return tree / "run.py"


def make(tree: Path) -> Path:
    (tree / "sub/new.py").touch()
    return tree / "sub/new.py"


def make_folder(tree: Path) -> Path:
    (tree / "other").mkdir()
    return tree / "other"


def remove(tree: Path) -> Path:
    (tree / "run.py").unlink()
    return tree / "run.py"


def rename(tree: Path) -> Path:
    (tree / "run.py").rename(tree / "walk.py")
    return tree / "run.py"


def replace_as_editors_do(tree: Path) -> Path:
    (tree / ".run.py.swp").touch()
    (tree / ".run.py.swp").rename(tree / "run.py")
    return tree / "run.py"


@pytest.mark.parametrize("change", [write, make, make_folder, remove, rename, replace_as_editors_do])
def test_changes_in_a_tree_are_heard(ears: Listener, tree: Path, change: Callable[[Path], Path]) -> None:
    assert ears.observer.arm(as_tree(tree), renew=False)
    ears.hears(change(tree))


def read(tree: Path) -> None:
    assert (tree / "run.py").read_text()
    assert list(tree.iterdir())


def change_mode(tree: Path) -> None:
    (tree / "run.py").chmod(0o600)
    tree.chmod(0o700)


def touch(tree: Path) -> None:
    os.utime(tree / "run.py")


def compile_it(tree: Path) -> None:
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__/run.cpython-311.pyc.17").touch()
    (tree / "__pycache__/run.cpython-311.pyc.17").rename(tree / "__pycache__/run.cpython-311.pyc")


def edit_without_saving(tree: Path) -> None:
    (tree / ".run.py.swp").write_text("x")
    (tree / ".run.py.swp").unlink()


@pytest.mark.parametrize("silent", [read, change_mode, touch, compile_it, edit_without_saving])
def test_what_changes_no_code_is_not_heard(ears: Listener, tree: Path, silent: Callable[[Path], None]) -> None:
    ears.observer.arm(as_tree(tree), renew=False)
    silent(tree)
    ears.hears(make(tree))


def test_in_a_folder_only_the_names_that_matter_are_heard(ears: Listener, tmp_path: Path) -> None:
    ears.observer.arm(Places(folders={tmp_path: frozenset({"celeryconfig.py", "current"})}), renew=False)
    (tmp_path / "trapd.log").write_text("noise")
    (tmp_path / "next").symlink_to("release2")
    (tmp_path / "next").rename(tmp_path / "current")
    ears.hears(tmp_path / "current")
    (tmp_path / "celeryconfig.py").touch()
    ears.hears(tmp_path / "celeryconfig.py")


def test_of_a_folder_above_only_the_coming_and_going_of_its_names_is_heard(ears: Listener, tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    ears.observer.arm(Places(above={tmp_path: frozenset({"venv", "app.log"})}), renew=False)
    with (tmp_path / "noise.log").open("w") as noise:
        noise.write("busy")
    (tmp_path / "venv/noise").touch()
    (tmp_path / "venv").rename(tmp_path / "old")
    ears.hears(tmp_path / "venv")
    (tmp_path / "app.log").touch()
    ears.hears(tmp_path / "app.log")
    (tmp_path / "app.log").write_text("not even its name would help: the kernel is not asked for this")
    (tmp_path / "old").rename(tmp_path / "venv")
    ears.hears(tmp_path / "venv")


def test_a_folder_above_that_lies_in_a_tree_is_heard_as_the_tree_is(ears: Listener, tree: Path) -> None:
    """An environment inside a source tree: the kernel keeps one list of events for a folder, the last one given."""
    ears.observer.arm(Places(trees={tree: shape(tree)}, above={tree: frozenset({"venv"})}), renew=False)
    with (tree / "run.py").open("r+") as file:
        file.write("x = 3\n")
        file.flush()
        ears.hears(tree / "run.py")


def closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read everything


def for_everybody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o1777)


def gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rmdir()


@pytest.mark.parametrize("state", [closed, for_everybody, gone])
def test_a_folder_above_that_is_not_worth_it_is_left_to_the_regular_look(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    state: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    folder = tmp_path / "above"
    folder.mkdir()
    state(folder, monkeypatch)
    observer = Observer(lambda path: None)
    assert not observer.arm(Places(above={folder: frozenset({"venv"})}), renew=False)
    assert not observer.incomplete
    assert not caplog.messages
    observer.stop()


def test_what_lies_directly_in_the_root_has_its_whole_name() -> None:
    told: list[str] = []
    handler = _Handler(told.append, "/", frozenset({"venv"}), recursive=False)
    for path in ("/new", "/xvenv", "/venv"):
        handler.dispatch(DirCreatedEvent(path))
    assert told == ["/venv"]


def test_other_names_can_matter_later(ears: Listener, tmp_path: Path) -> None:
    ears.observer.arm(Places(folders={tmp_path: frozenset({"one.py"})}), renew=False)
    assert ears.observer.arm(Places(folders={tmp_path: frozenset({"two.py"})}), renew=False)
    (tmp_path / "one.py").touch()
    (tmp_path / "two.py").touch()
    ears.hears(tmp_path / "two.py")


def test_in_site_packages_every_name_matters_but_not_what_is_deeper(ears: Listener, tree: Path) -> None:
    ears.observer.arm(Places(folders={tree.parent: None}), renew=False)
    make(tree)
    (tree.parent / "numpy-2.0.dist-info").mkdir()
    ears.hears(tree.parent / "numpy-2.0.dist-info")


def test_only_what_is_not_yet_watched_is_armed(ears: Listener, tree: Path) -> None:
    assert ears.observer.arm(as_tree(tree), renew=False)
    assert not ears.observer.arm(as_tree(tree), renew=False)
    make_folder(tree)
    assert ears.observer.arm(as_tree(tree), renew=False), "it has another shape"
    assert ears.observer.arm(as_tree(tree), renew=True)


def test_a_tree_that_was_replaced_is_heard_again_once_it_is_armed_again(ears: Listener, tree: Path) -> None:
    ears.observer.arm(as_tree(tree), renew=False)
    tree.rename(tree.with_name("~rap"))
    (tree / "sub").mkdir(parents=True)
    assert ears.observer.arm(as_tree(tree), renew=False)
    ears.hears_at_last(make(tree))


def test_a_folder_that_was_replaced_is_heard_again_once_it_is_armed_again(ears: Listener, tree: Path) -> None:
    """As one environment is by another, by two renames: later installs would be heard by nobody."""
    site = tree.parent
    ears.observer.arm(Places(folders={site: None}), renew=False)
    site.rename(site.with_name("old"))
    site.mkdir()
    assert ears.observer.arm(Places(folders={site: None}), renew=False)
    (site / "celery-5.6.dist-info").mkdir()
    ears.hears_at_last(site / "celery-5.6.dist-info")
    assert not ears.observer.arm(Places(folders={site: None}), renew=False)


def test_a_tree_that_was_removed_and_made_again_is_heard_after_a_renewal(ears: Listener, tree: Path) -> None:
    """Its inodes may have the same numbers as before, so its shape tells nothing."""
    places = as_tree(tree)
    ears.observer.arm(places, renew=False)
    (tree / "run.py").unlink()
    (tree / "sub").rmdir()
    tree.rmdir()
    (tree / "sub").mkdir(parents=True)
    ears.observer.arm(places, renew=True)
    ears.hears_at_last(make(tree))


def test_a_folder_that_was_removed_and_made_again_is_heard_after_a_renewal(
    ears: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a virtual environment is made anew in the place of the old one, and gets its inodes too."""
    monkeypatch.setattr("trapd.watch.observer._inode", lambda folder: 1)
    site = tmp_path / "venv/site-packages"
    for name in ("celery-5.5.dist-info", "celery-5.6.dist-info"):
        site.mkdir(parents=True)
        ears.observer.arm(Places(folders={site: None}), renew=True)
        (site / name).mkdir()
        ears.hears_at_last(site / name)
        shutil.rmtree(site.parent)


def test_what_happens_while_we_turn_away_is_no_error(
    ears: Listener, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`systemctl stop trapd` logged one now and then."""
    InotifyEmitter(EventQueue(), ObservedWatch(str(tree), recursive=False)).queue_events(0)
    logging.getLogger("watchdog.observers.inotify").warning("Inotify queue overflowed")
    assert caplog.messages == ["Inotify queue overflowed"]


def test_what_is_no_longer_watched_is_not_heard(ears: Listener, tree: Path, tmp_path: Path) -> None:
    ears.observer.arm(as_tree(tree), renew=False)
    ears.observer.arm(Places(folders={tmp_path: None}), renew=False)
    make(tree)
    (tmp_path / "other").touch()
    ears.hears(tmp_path / "other")


def test_an_overflow_of_the_kernels_queue_is_told(tmp_path: Path) -> None:
    """It holds 16,384 events; here nobody reads them meanwhile."""
    overflow, file = threading.Event(), tmp_path / "a"
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    observer = Observer(lambda path: None, on_overflow=overflow.set)
    observer.arm(Places(folders={tmp_path: frozenset(("none",))}), renew=False)
    file.touch()
    with observer._observer._inotify_fd._lock:  # type: ignore[attr-defined]
        for _ in range(limit // 4 + 2000):  # two events each, there and back; the reader takes 2048 before it stops
            file.rename(tmp_path / "b")
            (tmp_path / "b").rename(file)
    assert overflow.wait(PATIENCE)
    observer.stop()


# --- limits ---------------------------------------------------------------------------------------------------------


def limited(after: int, error: int) -> Callable[[], BaseObserver]:
    """A watchdog that can watch ``after`` folders and then fails."""

    class Limited(WatchdogObserver):  # type: ignore[valid-type,misc]
        left = after

        def schedule(self, *args: object, **kwargs: object) -> ObservedWatch:
            if self.left == 0:
                raise OSError(error, os.strerror(error))
            self.left -= 1
            watch: ObservedWatch = super().schedule(*args, **kwargs)
            return watch

    return Limited


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(errno.ENOSPC, "raise fs.inotify.max_user_watches"), (errno.EMFILE, "raise fs.inotify.max_user_instances")],
)
def test_a_limit_of_the_kernel_is_named_once_with_its_remedy(
    tree: Path, caplog: pytest.LogCaptureFixture, error: int, remedy: str
) -> None:
    observer = Observer(lambda path: None, limited(0, error))
    assert not observer.arm(as_tree(tree), renew=False)
    assert not observer.arm(as_tree(tree), renew=False)
    assert observer.incomplete
    assert observer.deaf == caplog.messages[0]
    [message] = caplog.messages
    assert message.startswith(f"cannot watch {tree}: ")
    assert remedy in message
    observer.stop()


def test_a_limit_that_is_met_inside_a_tree_is_found_until_it_is_gone(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """watchdog says nothing then; but the next folder cannot be watched either."""
    observer = Observer(lambda path: None, limited(1, errno.ENOSPC))
    assert observer.arm(as_tree(tree), renew=False)
    assert not observer.arm(as_tree(tree), renew=False)
    assert observer.incomplete
    assert len(caplog.messages) == 1
    assert f"cannot watch everything below {tree}: " in caplog.text
    assert "raise fs.inotify.max_user_watches" in observer.deaf
    observer._observer.left = 9  # type: ignore[attr-defined]
    assert observer.arm(as_tree(tree), renew=False), "all of the tree is watched anew"
    assert not observer.incomplete
    assert observer.deaf == ""
    observer.stop()


def test_a_folder_that_may_not_be_read_cannot_be_watched(
    tree: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read everything
    observer = Observer(lambda path: None)
    assert not observer.arm(as_tree(tree), renew=False)
    assert observer.incomplete
    assert f"cannot watch {tree}: permission denied" in caplog.text
    observer.stop()


def test_what_has_vanished_is_no_limit(ears: Listener, tmp_path: Path) -> None:
    assert not ears.observer.arm(Places(folders={tmp_path / "gone": None}), renew=False)
    assert not ears.observer.incomplete


def test_a_file_that_others_may_write_from_now_on_is_heard_of(tree: Path, ears: Listener) -> None:
    """A mere chmod: a celeryconfig that everybody may write has to be found at once."""
    ears.observer.arm(Places(folders={tree: frozenset({"run.py"})}), renew=False)
    (tree / "run.py").chmod(0o666)
    ears.hears(tree / "run.py")
