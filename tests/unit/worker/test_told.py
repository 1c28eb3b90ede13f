"""SIGTERM is known of at once, and that of a child is not ours."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from trapd.worker.told import Told


@pytest.fixture
def told() -> Iterator[Told]:
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    told = Told()
    yield told
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, before)
    os.close(told.reader)
    os.close(told._writer)


def test_a_sigterm_is_told_once_and_another_signal_is_not(told: Told) -> None:
    assert not told.to_leave()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not told.to_leave()
    os.kill(os.getpid(), signal.SIGTERM)
    assert told.to_leave()
    assert not told.to_leave()
    signal.signal(signal.SIGUSR1, before)


def test_the_sigterm_of_a_child_of_the_pool_is_not_the_workers(told: Told) -> None:
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    os.waitpid(child, 0)
    assert not told.to_leave()


def test_whoever_has_the_wakeup_fd_keeps_it(told: Told) -> None:
    second = Told()
    os.kill(os.getpid(), signal.SIGTERM)
    assert not second.to_leave()
    assert told.to_leave()
    os.close(second.reader)
    os.close(second._writer)
