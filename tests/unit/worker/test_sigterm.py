"""SIGTERM is known of at once, and that of a child is not ours."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from trapd.worker.sigterm import Sigterm


@pytest.fixture
def sigterm() -> Iterator[Sigterm]:
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    sigterm = Sigterm()
    yield sigterm
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, before)
    os.close(sigterm.reader)
    os.close(sigterm._writer)


def test_a_sigterm_is_told_once_and_another_signal_is_not(sigterm: Sigterm) -> None:
    assert not sigterm.received()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not sigterm.received()
    os.kill(os.getpid(), signal.SIGTERM)
    assert sigterm.received()
    assert not sigterm.received()
    signal.signal(signal.SIGUSR1, before)


def test_the_sigterm_of_a_child_of_the_pool_is_not_the_workers(sigterm: Sigterm) -> None:
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    os.waitpid(child, 0)
    assert not sigterm.received()


def test_whoever_has_the_wakeup_fd_keeps_it(sigterm: Sigterm) -> None:
    second = Sigterm()
    os.kill(os.getpid(), signal.SIGTERM)
    assert not second.received()
    assert sigterm.received()
    os.close(second.reader)
    os.close(second._writer)
