"""The workers' output on trapd's own: whole lines, each with its worker's name, whatever becomes of the files."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from trapd.backend.embedded import relay
from trapd.backend.embedded.relay import CHUNK, Relay


class Output:
    """What a relay has written, and a way to wait for it."""

    def __init__(self, folder: Path) -> None:
        self.text, self.folder = "", folder
        self.relay = Relay(folder, self._write)
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def _write(self, data: bytes) -> None:
        self.text += data.decode()
        self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, true: Callable[[str], bool]) -> None:
        async with asyncio.timeout(10):
            while not true(self.text):
                await self._news.wait()
                self._news.clear()


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def test_whole_lines_come_as_they_are_written_each_with_its_name(tmp_path: Path) -> None:
    output, one, two = Output(tmp_path), tmp_path / "a@1-1.log", tmp_path / "b@1-1.log"
    output.relay.open()
    for path in (one, two):
        path.touch()
        output.relay.follow(path.stem, path)
    write(one, "first\nsec")
    await output.until(lambda text: text == "a@1-1 | first\n")
    write(two, "other\n")
    write(one, "ond\n")
    await output.until(lambda text: text.count("\n") == 3)
    assert sorted(output.text.splitlines()[1:]) == ["a@1-1 | second", "b@1-1 | other"]
    await output.relay.close()


async def test_of_a_run_that_has_ended_the_last_words_come_and_a_new_run_begins_anew(tmp_path: Path) -> None:
    output, log = Output(tmp_path), tmp_path / "a@1-1.log"
    output.relay.open()
    log.touch()
    output.relay.follow("a@1-1", log)
    write(log, "killed in the mid")
    output.relay.end("a@1-1")
    log.rename(tmp_path / "a@1-1.log.1")
    log.touch()
    output.relay.follow("a@1-1", log)
    write(log, "again\n")
    await output.until(lambda text: text == "a@1-1 | killed in the mid\na@1-1 | again\n")
    log.write_text("")  # emptied, as a very long log is
    write(log, "on\n")
    await output.until(lambda text: text.endswith("a@1-1 | on\n"))
    assert len(output.relay._sources) == 1
    write(log, "end")
    await output.relay.close()
    assert output.text.endswith("a@1-1 | on\na@1-1 | end\n")


async def test_a_line_without_end_is_cut_and_none_waits_for_ever(tmp_path: Path) -> None:
    output, log = Output(tmp_path), tmp_path / "a@1-1.log"
    output.relay.open()
    log.touch()
    output.relay.follow("a@1-1", log)
    write(log, "x" * (CHUNK + 10))
    await output.until(lambda text: text.count("x") == CHUNK)
    await output.relay.close()
    assert output.text.count("x") == CHUNK + 10


async def test_what_nobody_reads_ends_the_copying_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output, log = Output(tmp_path), tmp_path / "a@1-1.log"

    def broken(data: bytes) -> None:
        raise BrokenPipeError(32, os.strerror(32))

    output.relay._write = broken
    output.relay.open()
    log.touch()
    output.relay.follow("a@1-1", log)
    write(log, "line\n")
    async with asyncio.timeout(10):
        await output.relay._ended.wait()
    assert f"cannot copy the output of workers: broken pipe; it is in {tmp_path}" in caplog.text
    before = len(list(Path("/proc/self/fd").iterdir()))
    output.relay.follow("a@1-2", log)
    after = len(list(Path("/proc/self/fd").iterdir()))
    assert after == before  # nobody would ever close it
    await output.relay.close()


def refusing(code: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    return refuse


async def test_a_worker_whose_output_cannot_be_watched_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Many containers share the limits of one kernel."""
    log = tmp_path / "a@1-1.log"
    log.touch()
    output = Output(tmp_path)
    output.relay.open()
    monkeypatch.setattr(relay, "_LIBC", SimpleNamespace(inotify_add_watch=refusing(errno.ENOSPC)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    output.relay.follow("a@1-1", log)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    await output.relay.close()
    why = "no space left on device (raise fs.inotify.max_user_watches)"
    assert caplog.messages == [f"cannot copy the output of a@1-1: {why}; it is in {log}"]


async def test_trapd_starts_where_the_kernel_has_no_inotify_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "_LIBC", SimpleNamespace(inotify_init1=refusing(errno.EMFILE)))
    output = Relay(tmp_path)
    output.open()
    output.follow("a@1-1", tmp_path / "a@1-1.log")
    output.end("a@1-1")
    await output.close()
    (message,) = caplog.messages
    assert message.endswith(f"too many open files (raise fs.inotify.max_user_instances); it is in {tmp_path}")


NOBODY_READS = """
import asyncio, sys
from pathlib import Path
from trapd.backend.embedded import relay

relay.LAST_PASS = 0.1

async def main(log):
    output = relay.Relay(log.parent)
    output.open()
    output.follow("a@1-1", log)
    log.write_text("x\\n" * 100_000)
    await asyncio.sleep(0.2)
    await output.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_trapd_ends_though_nobody_reads_its_output(tmp_path: Path) -> None:
    log = tmp_path / "a@1-1.log"
    log.touch()
    read, write = os.pipe()
    try:
        ended = subprocess.run([sys.executable, "-c", NOBODY_READS, str(log)], stdout=write, timeout=20)
    finally:
        os.close(read)
        os.close(write)
    assert ended.returncode == 0
