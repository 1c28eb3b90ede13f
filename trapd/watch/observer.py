"""Hears of changes: the one file that knows watchdog.

An event is only a hint to look, so nothing here has to be exact: events may come late (watchdog holds a file that was
moved out of sight for 0.5 s), twice, or, when the kernel's queue overflows, not at all; an overflow is reported. The
looks find out.

Idle costs nothing: every thread of watchdog 7.1 blocks without a timeout (0 wake-ups in 60 s, measured), if it is not
asked for events that reading a file causes; so what is asked for is named here, one by one (gorakhargosh/watchdog#949:
programs restarted by their own reading).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchdog import events as known
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer as WatchdogObserver
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    WatchCallback,
    WatchDescriptor,
)

from trapd.watch.ignore import matters
from trapd.watch.places import Places

log = logging.getLogger("trapd.watch")

Events = tuple[type[FileSystemEvent], ...]
_ENTRIES: Events = (
    FileCreatedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
)
_CHANGES: Events = (
    *_ENTRIES,
    FileModifiedEvent,  # a file that is written slowly is closed only once
    FileClosedEvent,  # after writing
    # not DirModifiedEvent: watchdog makes one for every change in a folder, __pycache__ in it included
)
# A mere chmod, which says who may write a file: watchdog 7 has a name of its own for it.
_WITH_RIGHTS: Events = (*_CHANGES, getattr(known, "FileAttribEvent", FileModifiedEvent))
_QUIET = b"/proc/self/task"  # a folder of which nothing is ever reported but an overflow of the queue
_UNUSED = "/proc"  # a folder that nothing else here watches: it would need no other watch of the kernel
_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}

Place = tuple[Path, object]  # what is watched, and what tells it from its successor


@dataclass(frozen=True, eq=False)
class _Handler(FileSystemEventHandler):
    """Passes on the paths that matter."""

    notify: Callable[[str], None]
    top: str
    names: frozenset[str] | None
    recursive: bool
    events: Events = _CHANGES

    def on_any_event(self, event: FileSystemEvent) -> None:
        for path in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
            if path and self._matters(path):
                self.notify(path)
                return

    def _matters(self, path: str) -> bool:
        if self.recursive and path.startswith(self.top):
            return matters(path[len(self.top) + 1 :])
        name = path.rpartition("/")[2] if path != self.top else ""
        return matters(name) if self.names is None else name in self.names


class _Overflow(WatchCallback):
    """Tells that the kernel has dropped events, of which watchdog itself makes no event."""

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify

    def listen(self, queue: InotifyFD) -> None:
        queue.add_callback(_QUIET, InotifyConstants.IN_DELETE_SELF, self, CallbackId(id(self)))

    def on_event(self, event: InotifyEvent) -> None: ...

    def on_watch_deleted(self, wd: WatchDescriptor) -> None: ...

    def on_queue_overflow(self) -> None:
        self._notify()


class Observer:
    """Watches places. ``notify(path)`` is called in a thread of its own, often, for paths that may matter;
    ``on_overflow()`` in such a thread when the kernel has dropped events of any path."""

    def __init__(
        self,
        notify: Callable[[str], None],
        watchdog: Callable[[], BaseObserver] = WatchdogObserver,
        *,
        on_overflow: Callable[[], object] | None = None,
    ) -> None:
        """Starts threads; raises OSError if the system allows no more inotify instances."""
        self._notify = notify
        self._watches: dict[Place, ObservedWatch] = {}
        self._unwatched: dict[Path, OSError] = {}
        self._short: OSError | None = None  # the kernel has no watch left
        logging.getLogger("watchdog.observers.inotify").addFilter(_worth_logging)
        self._observer = watchdog()
        self._observer.start()
        if on_overflow and isinstance(queue := getattr(self._observer, "_inotify_fd", None), InotifyFD):
            with contextlib.suppress(OSError):  # no watch is left, which _check_limit finds
                _Overflow(on_overflow).listen(queue)

    @property
    def incomplete(self) -> bool:
        """Whether some place could not be watched: then only regular looks find what changes there."""
        return bool(self._unwatched) or self._short is not None

    @property
    def deaf(self) -> str:
        """What could not be watched, and why, in a sentence; empty if everything could."""
        if self._short is not None:
            return _cannot_watch("every folder of the installed code", self._short)
        for path, error in self._unwatched.items():
            return _cannot_watch(str(path), error)
        return ""

    def arm(self, places: Places, *, renew: bool) -> frozenset[Path]:
        """Watch these places and no others; returns those that are watched anew, and so have to be looked at.

        ``renew``: watch all of them again, whatever they look like. What was replaced keeps its path but not its
        watches, and new inodes may have the old numbers.
        """
        if self._short is not None:
            self._check_limit(places)
            renew = renew or self._short is None
        wanted: dict[Place, _Handler] = {}
        for top, folders in places.trees.items():
            wanted[top, folders] = _Handler(self._notify, str(top), None, recursive=True)
        for folder, names in places.folders.items():
            handler = _Handler(self._notify, str(folder), names, recursive=False, events=_WITH_RIGHTS)
            wanted[folder, (names, _inode(folder))] = handler
        for folder, names in places.above.items():
            # Files there may be logs. But the kernel knows one list of events for a folder: the last one given.
            events = _CHANGES if any(folder.is_relative_to(top) for top in places.trees) else _ENTRIES
            if _is_worth_it(folder):  # if not, regular looks have to do
                handler = _Handler(self._notify, str(folder), names, recursive=False, events=events)
                wanted[folder, (names, _inode(folder), events)] = handler
        for place in [p for p in self._watches if renew or p not in wanted]:
            self._observer.unschedule(self._watches.pop(place))
        unwatched_before, self._unwatched = self._unwatched, {}
        new = [place for place in wanted if place not in self._watches and self._watch(place, wanted[place])]
        for path in self._unwatched.keys() - unwatched_before.keys():
            _warn(str(path), self._unwatched[path])
        if any(wanted[place].recursive for place in new):
            self._check_limit(places)
        return frozenset(path for path, _ in new)

    def stop(self) -> None:
        """Forget everything and end the threads."""
        self._observer.stop()
        self._observer.join()

    def _watch(self, place: Place, handler: _Handler) -> bool:
        path = place[0]
        try:
            if not os.access(path, os.R_OK):
                path.stat()
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # watchdog would pass over it in silence
            self._watches[place] = self._observer.schedule(
                handler, str(path), recursive=handler.recursive, event_filter=list(handler.events)
            )
        except FileNotFoundError:
            return False  # it has just vanished: that is for the look to find
        except OSError as error:
            self._unwatched[path] = error
            return False
        return True

    def _check_limit(self, places: Places) -> None:
        """watchdog passes over folders inside a tree for which the kernel has no watch left; one more folder tells."""
        short_before, self._short = self._short, None
        try:
            handler = _Handler(_ignore, _UNUSED, frozenset(), recursive=False)
            self._observer.unschedule(self._observer.schedule(handler, _UNUSED, event_filter=list(handler.events)))
        except OSError as error:
            self._short = error
            if short_before is None:
                _warn(f"everything below {', '.join(map(str, places.trees))}", error)


def _worth_logging(record: logging.LogRecord) -> bool:
    """Not the error that watchdog logs if something happens in a folder at the moment in which we turn away from it."""
    return "when the thread is inactive" not in record.getMessage()


def _inode(folder: Path) -> int:
    try:
        return folder.stat().st_ino
    except OSError:
        return 0  # it has just vanished


def _is_worth_it(above: Path) -> bool:
    """Whether it may be read, and is no folder for everybody, as /tmp is: too busy, and nothing is installed there."""
    try:
        return not above.stat().st_mode & stat.S_ISVTX and os.access(above, os.R_OK)
    except OSError:
        return False  # it has just vanished


def _ignore(path: str) -> None:
    pass


def _cannot_watch(what: str, error: OSError) -> str:
    return f"cannot watch {what}: {reason(error)}; until then its changes are found only by regular looks"


def reason(error: OSError) -> str:
    """Why the kernel refused to watch, and what to do if that is a limit."""
    why = (error.strerror or str(error)).lower()
    return f"{why}; raise {_LIMITS[error.errno]}" if error.errno in _LIMITS else why


def _warn(what: str, error: OSError) -> None:
    log.warning("%s", _cannot_watch(what, error))
