"""Results that wait to be read are seen, and stay where they are."""

from __future__ import annotations

import os
from types import SimpleNamespace

from trapd.worker import unread as module
from trapd.worker.unread import unread


def test_a_result_that_nobody_reads_is_seen_and_left_there() -> None:
    pipes = [os.pipe() for _ in range(3)]
    pool = SimpleNamespace(_pool=SimpleNamespace(_pool=[SimpleNamespace(outqR_fd=reader) for reader, _ in pipes]))
    try:
        assert unread(pool) == 0
        os.write(pipes[1][1], b"x")
        assert unread(pool) == unread(pool) == 1
        assert os.read(pipes[1][0], 1) == b"x"
        assert unread(pool) == 0
    finally:
        for pipe in pipes:
            for end in pipe:
                os.close(end)
    assert unread(pool) == 0, "they are closed"


def test_of_a_pool_of_another_kind_nothing_is_known() -> None:
    assert unread(SimpleNamespace()) == unread(None) == 0
    many = [SimpleNamespace(outqR_fd=number) for number in range(module.MOST + 1)]
    assert unread(SimpleNamespace(_pool=SimpleNamespace(_pool=many))) == 0
