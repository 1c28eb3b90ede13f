"""A whole run on a stand-in for Trap: what it writes, how it ends, and what it keeps for the next time."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from trapd.distribute import disk

Change = Callable[
    [str, str, int], dict[str, Any]
]  # (task, image's name, how many times asked) -> changes of the answer


# Ends with 0 if the lock is held.
ANOTHER = """
import sys
from pathlib import Path
from trapd.distribute import disk

with disk.alone(Path(sys.argv[1])) as mine:
    sys.exit(int(mine))
"""


@dataclass
class World:
    """A folder of images, and workers that answer as the tests want."""

    run: ModuleType
    place: Path
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)  # (task, image) -> times
    change: Change = lambda task, image, times: {}
    ends: list[BaseException | None] = field(default_factory=list)

    def images(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.place / "images" / f"{name}.fits").write_text(text)

    def __call__(self, *options: str, trap: tuple[str, ...] = ()) -> int:
        """Run; returns the exit status."""
        arguments = ["-i", str(self.place / "images"), "--db_name", str(self.place / "a.db"), *trap]
        return int(self.run.main([*options, "--", *arguments]))

    def rows(self, query: str) -> list[Any]:
        connection = sqlite3.connect(self.place / "a.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def fluxes(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for image, flux in self.rows("select im_id, flux from extracted_sources"):
            found.setdefault(image, []).append(flux)
        return found


@pytest.fixture
def world(app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    fake = importlib.import_module("tests.support.fake_exact")
    monkeypatch.setitem(sys.modules, "trapd.distribute.exact", fake)
    monkeypatch.setattr(importlib.import_module("trapd.distribute"), "exact", fake, raising=False)
    monkeypatch.setattr(sys, "argv", ["run"])
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    run = importlib.import_module("trapd.distribute.run")
    (tmp_path / "images").mkdir()
    yield World(run, tmp_path)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def workers(world: World, tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> World:
    """In the place of hub, broker and workers: the task itself, and what ``world.change`` makes of its answer."""
    submit = importlib.import_module("trapd.distribute.submit")

    class FakeHub:
        def __init__(self, app: Celery, *, queue_name: str | None = None) -> None:
            self.app = SimpleNamespace(conf=SimpleNamespace(task_always_eager=False))

        def reach(self) -> None: ...

        def start(self) -> None: ...

        def close(self, problem: BaseException | None) -> None:
            world.ends.append(problem)

        def ask(self, request: Any) -> Any:
            task, image = request.task.rpartition(".")[2], Path(request.image).stem
            world.asked[task, image] += 1
            changes = world.change(task, image, world.asked[task, image])
            if isinstance(changes.get("raise"), BaseException):
                raise changes["raise"]
            if "machine" in changes:
                words, attempts = changes["machine"], changes.get("attempts", 3)
                return submit.Answer("", request.image, 0, 0, None, words, "machine", attempts, request)
            answer = json.loads(json.dumps(getattr(tasks, task).run(*request.args) | changes))
            fault = "image" if answer["error"] else ""
            return submit.Answer("", request.image, 0, 0, answer, answer["error"] or "", fault, 1, request)

    tasks.app.finalize()  # else the first of several threads does so
    monkeypatch.setattr(world.run, "Hub", FakeHub)
    return world


def other_code(version: str = "9.9") -> dict[str, Any]:
    numbers = {"numba": "0.61.2", "numpy": "2.2.6", "radio-pyse": "0.7.0"}
    return {"versions": {**numbers, "trap": version}, "digest": None}


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_run_in_one_process_writes_what_trap_writes(world: World) -> None:
    world.images(a="1 2", b="3", c_fit="4")
    assert world() == 0
    assert world.fluxes() == {0: [1.0, 2.0], 1: [3.0], 2: [4.0, 0.125]}
    assert world.rows("select band, rejected from images") == [(4, 0)] * 3, "the band is the run's, not the worker's 0"
    assert world.rows("select db_name from config") == [(str(world.place / "a.db"),)]
    assert sorted(path.name for path in world.place.iterdir()) == ["a.db", "a.db.answers", "images", "ledger", "site"]


def test_each_image_has_a_row_that_says_who_answered(workers: World) -> None:
    workers.images(a="1", b_fit="2")
    assert workers() == 0
    rows = workers.rows("select im_id, image, error, trap, radio_pyse, numpy, attempts, fit_trap from trapd_provenance")
    assert rows == [
        (0, str(workers.place / "images/a.fits"), None, "9.8.7", "0.7.0", "2.2.6", 1, None),
        (1, str(workers.place / "images/b_fit.fits"), None, "9.8.7", "0.7.0", "2.2.6", 2, "9.8.7"),
    ]
    answered = workers.rows("select host, generation from trapd_provenance")
    assert answered == [(socket.gethostname(), None)] * 2, "a task that runs here is in no worker of a generation"
    [(began, finished)] = workers.rows("select started, finished from trapd_provenance where im_id = 0")
    assert 0 < began <= finished
    [run] = workers.rows("select state, images, failed, codes, trap, on_upgrade from trapd_run")
    assert run == ("complete", 2, 0, 1, "9.8.7", "pin")
    [(options,)] = workers.rows("select options from trapd_run")
    assert json.loads(options)["margin"] == 0


def test_each_row_has_the_host_and_the_generation_of_its_answer(workers: World) -> None:
    workers.images(a="1", b_fit="2")
    places = {"a": {"host": "red", "generation": 7}, "b_fit": {"host": "blue", "generation": 8}}
    workers.change = lambda task, image, times: places[image] if task == "extract_table" else {"host": "green"}
    assert workers() == 0
    assert workers.rows("select host, generation from trapd_provenance order by im_id") == [("red", 7), ("blue", 8)]


def test_the_password_of_the_database_is_not_written(workers: World) -> None:
    workers.images(a="1")
    assert workers(trap=("--db_password", "secret")) == 0
    assert b"secret" not in (workers.place / "a.db").read_bytes()


def test_until_the_run_is_complete_the_database_has_another_name(workers: World) -> None:
    workers.images(a="1")
    seen = []

    def look(task: str, image: str, times: int) -> dict[str, Any]:
        seen.append((workers.place / "a.db").exists())
        return {}

    workers.change = look
    assert workers() == 0
    assert seen == [False]


def test_warnings_of_workers_reach_the_terminal_once(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1 warn", b="2 warn")
    assert workers() == 0
    assert capsys.readouterr().err.count("no bandwidth in") == 1


def test_an_unknown_trap_is_said_to_be_one(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1")
    assert workers() == 0
    assert "WARNING: trap 9.8.7 is unknown here; known are 1.3.0, 1.4.0." in capsys.readouterr().err


# --- images that fail -------------------------------------------------------------------------------------------------


def test_a_bad_image_is_rejected_and_named_and_the_run_goes_on(
    workers: World, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.images(a="1", bad="!ValueError('no beam')", c="2")
    assert workers() == 23
    assert workers.fluxes() == {0: [1.0], 2: [2.0]}
    assert workers.rows("select id, rejected from images") == [(0, 0), (1, 1), (2, 0)]
    assert [bool(error) for (error,) in workers.rows("select error from trapd_provenance")] == [False, True, False]
    assert workers.rows("select state, failed from trapd_run") == [("partial", 1)]
    words = capsys.readouterr().err
    assert f"REJECTED {workers.place}/images/bad.fits: cannot extract sources from" in words
    assert "ValueError: no beam" in words


def test_who_rejected_an_image_is_told(workers: World) -> None:
    workers.images(a="1", bad="!ValueError('no beam')", c_fit="2")
    bad_fit = {"error": "cannot fit", "worker": "gpu-8-1@other"}
    workers.change = lambda task, image, times: bad_fit if task == "fit_positions" else {"worker": "default-7-1@host"}
    assert workers() == 23
    answered = workers.rows("select trap, worker, fit_trap, fit_worker from trapd_provenance")
    one = ("9.8.7", "default-7-1@host")
    assert answered == [(*one, None, None), (*one, None, None), (*one, "9.8.7", "gpu-8-1@other")]


@pytest.mark.parametrize(("policy", "written"), [("pin", "a.db.part"), ("mix", "a.db")])
def test_an_image_that_other_code_rejects_is_a_mixture(workers: World, policy: str, written: str) -> None:
    """The run's own code might have found sources in it."""
    workers.images(a="1", bad="!ValueError('no beam')", c="2")
    workers.change = lambda task, image, times: other_code() if image == "bad" else {}
    assert workers("--on-upgrade", policy, "--in-flight", "1") == 25
    assert (workers.place / written).exists()
    assert (workers.place / "a.db").exists() == (policy == "mix")


def test_on_error_stop_ends_the_run_at_a_bad_image(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1", bad="!ValueError('no beam')")
    assert workers("--on-error", "stop") == 1
    assert "ValueError: no beam; the run stops at the first error" in capsys.readouterr().err
    assert not (workers.place / "a.db").exists()


def test_an_image_without_a_header_does_not_keep_the_others_out(workers: World) -> None:
    workers.images(a="1", bad="headless", c="2")
    assert workers() == 23
    assert workers.fluxes() == {0: [1.0], 1: [2.0]}
    rows = workers.rows("select im_id, attempts, error from trapd_provenance where error is not null")
    assert rows == [
        (None, 0, f"cannot read the header of {workers.place}/images/bad.fits: OSError: No SIMPLE card found"),
    ]
    with pytest.raises(OSError, match="No SIMPLE"):
        workers("--on-error", "stop", trap=("--db_overwrite",))


def test_an_image_that_vanishes_is_rejected_and_named_and_the_run_goes_on(
    workers: World, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.images(a="1", gone="2", late="3")

    def vanish(task: str, image: str, times: int) -> dict[str, Any]:
        if image == "a":
            (workers.place / "images/gone.fits").unlink()
        if image != "late":
            return {}
        (workers.place / "images/late.fits").unlink(missing_ok=True)  # while the worker has it
        return {"error": "cannot read it: No such file or directory", "unseen": True}

    workers.change = vanish
    assert workers("--in-flight", "1") == 23
    assert workers.fluxes() == {0: [1.0]}
    assert workers.rows("select id, band, rejected from images") == [(0, 4, 0), (1, 4, 1), (2, 4, 1)]
    words = f"{workers.place}/images/gone.fits: cannot read {workers.place}/images/gone.fits: No such file or directory"
    assert f"REJECTED {words}" in capsys.readouterr().err


def test_a_run_with_bad_images_tries_those_again(workers: World) -> None:
    workers.images(a="1", bad="!ValueError('no beam')")
    assert workers() == 23
    workers.images(bad="2")
    (workers.place / "a.db").unlink()
    assert workers() == 0
    assert workers.asked == {("extract_table", "a"): 1, ("extract_table", "bad"): 2}


def test_the_machine_is_not_called_a_bad_image(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1", deadly="2")
    words = "cannot process deadly: WorkerLostError; it was sent 3 times"
    workers.change = lambda task, image, times: {"machine": words} if image == "deadly" else {}
    assert workers() == 23
    assert words in capsys.readouterr().err
    assert workers.rows("select attempts, error from trapd_provenance where im_id = 1") == [(3, words)]


def test_a_fit_that_fails_leaves_the_source_without_a_measurement(workers: World) -> None:
    workers.images(a_fit="1", b="2")
    workers.change = lambda task, image, times: {"machine": "killed"} if task == "fit_positions" else {}
    assert workers() == 23
    assert workers.fluxes() == {0: [1.0], 1: [2.0]}


def test_where_no_worker_sees_the_images_the_run_stops_early(
    workers: World, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.images(**{f"n{number:02}": "1" for number in range(60)})
    unseen = {"error": "cannot read it: No such file or directory", "unseen": True}
    workers.change = lambda task, image, times: unseen
    assert workers("--in-flight", "4") == 24
    assert f"no worker can see {workers.place}/images: cannot read it" in capsys.readouterr().err
    assert max(workers.asked.values()) == 3, "another worker may see it"
    assert len(workers.asked) < 50


def test_an_image_that_one_worker_does_not_see_is_sent_to_another(workers: World) -> None:
    workers.images(a="1", b="2")
    unseen = {"error": "cannot read it", "unseen": True}
    workers.change = lambda task, image, times: unseen if times == 1 else {}
    assert workers() == 0
    assert set(workers.asked.values()) == {2}


def test_if_all_images_fail_alike_the_images_are_not_the_reason(
    workers: World, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.images(**{f"n{number:02}": "!TypeError('no option depth')" for number in range(60)})
    assert workers("--in-flight", "12") == 24
    assert "every image fails alike: cannot extract sources from" in capsys.readouterr().err
    assert len(workers.asked) < 40


def test_processes_that_are_killed_alike_are_alike(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    """billiard names the job, which is another one for each image."""
    workers.images(**{f"n{number:02}": "1" for number in range(60)})

    def killed(task: str, image: str, times: int) -> dict[str, Any]:
        lost = "WorkerLostError: Worker exited prematurely: signal 9 (SIGKILL) Job"
        path = workers.place / f"images/{image}.fits"
        return {"machine": f"cannot process {path}: {lost}: {int(image[1:]) + 300}.; it was sent 3 times"}

    workers.change = killed
    assert workers("--in-flight", "12") == 24
    assert "every image fails alike: cannot process" in capsys.readouterr().err
    assert len(workers.asked) < 40


@pytest.mark.parametrize("fault", ["unseen", "alike"])
def test_a_kept_answer_does_not_hide_that_all_images_fail_now(workers: World, fault: str) -> None:
    workers.images(n="1")
    assert workers() == 0
    workers.images(**{f"n{number:02}": "2" for number in range(60)})
    workers.change = lambda task, image, times: {"error": "cannot read it", "unseen": fault == "unseen"}
    assert workers("--in-flight", "4", trap=("--db_overwrite",)) == 24
    assert len(workers.asked) < 40


def test_images_that_failed_among_good_ones_do_not_keep_the_run_from_being_resumed(workers: World) -> None:
    """All others are kept, so nothing but these is asked for at first."""
    bad = ("m1", "m2", "m3", "m4")
    workers.images(a="1", z="2", **dict.fromkeys(bad, "3"))
    unreadable = {"error": "cannot read it", "unseen": True}

    def interrupt(task: str, image: str, times: int) -> dict[str, Any]:
        return unreadable if image in bad else {"raise": KeyboardInterrupt()} if (image, times) == ("z", 1) else {}

    workers.change = interrupt
    assert workers("--in-flight", "1") == 130
    assert workers("--in-flight", "1") == 23
    assert [image for (image,) in workers.rows("select im_id from trapd_provenance where error is null")] == [0, 5]


def test_one_image_alone_may_be_bad(workers: World) -> None:
    workers.images(bad="!TypeError('no beam')")
    assert workers() == 23


# --- kept answers -----------------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_was(workers: World) -> None:
    workers.images(a="1", b_fit="2", c="3")

    def interrupt(task: str, image: str, times: int) -> dict[str, Any]:
        return {"raise": KeyboardInterrupt()} if image == "c" and times == 1 else {}

    workers.change = interrupt
    assert workers("--in-flight", "1") == 130
    assert isinstance(workers.ends[0], KeyboardInterrupt)
    assert not (workers.place / "a.db").exists()
    assert workers() == 0
    assert workers.fluxes() == {0: [1.0], 1: [2.0, 0.125], 2: [3.0]}
    assert workers.asked == {
        ("extract_table", "a"): 1,
        ("extract_table", "b_fit"): 1,
        ("fit_positions", "b_fit"): 1,
        ("extract_table", "c"): 2,
    }


def test_the_same_run_once_more_does_nothing(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1")
    assert workers() == 0
    before = (workers.place / "a.db").stat().st_mtime_ns
    assert workers() == 0
    assert "has this run already" in capsys.readouterr().err
    assert (workers.place / "a.db").stat().st_mtime_ns == before


@pytest.mark.parametrize("what", ["image", "option", "not trapd's"])
def test_another_run_does_not_replace_a_database(workers: World, capsys: pytest.CaptureFixture[str], what: str) -> None:
    workers.images(a="1")
    if what == "not trapd's":
        (workers.place / "a.db").write_text("mine")
    else:
        assert workers() == 0
        workers.images(**({"b": "2"} if what == "image" else {}))
    trap = ("--margin", "3") if what == "option" else ()
    assert workers(trap=trap) == 1
    assert "give another --db_name, or remove it with --db_overwrite" in capsys.readouterr().err
    assert workers(trap=(*trap, "--db_overwrite")) == 0


def test_an_answer_is_kept_for_its_file_its_options_and_its_code(workers: World) -> None:
    workers.images(a="1", b="2")
    assert workers() == 0
    workers.images(a="1 1")
    assert workers(trap=("--db_overwrite",)) == 0
    assert workers.asked == {("extract_table", "a"): 2, ("extract_table", "b"): 1}
    assert workers.fluxes() == {0: [1.0, 1.0], 1: [2.0]}
    assert workers(trap=("--db_overwrite", "--margin", "3")) == 0
    assert workers.asked == {("extract_table", "a"): 3, ("extract_table", "b"): 2}
    for file in (workers.place / "a.db.answers").glob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | other_code()))
    assert workers(trap=("--db_overwrite",)) == 0
    assert workers.asked == {("extract_table", "a"): 4, ("extract_table", "b"): 3}


def test_an_answer_is_not_that_of_a_file_with_another_time(workers: World) -> None:
    """Somebody may have written other pixels over it: their number is the same."""
    workers.images(a="1", b="2")
    assert workers() == 0
    image = workers.place / "images/a.fits"
    before = image.stat()
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    assert image.stat().st_size == before.st_size
    assert workers(trap=("--db_overwrite",)) == 0
    assert workers.asked == {("extract_table", "a"): 2, ("extract_table", "b"): 1}


def test_an_answer_is_not_that_of_code_with_another_digest(workers: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds of the same versions."""
    workers.images(a="1")
    digest = "one"
    monkeypatch.setattr(workers.run.provenance, "digest", lambda module: digest)
    workers.change = lambda task, image, times: {"digest": digest}
    for digest, asked in (("one", 1), ("one", 1), ("two", 2), ("two", 2)):
        assert workers(trap=("--db_overwrite",)) == 0
        assert workers.asked == {("extract_table", "a"): asked}
        assert workers.rows("select digest from trapd_provenance") == [(digest,)]


def test_a_half_written_answer_is_asked_for_again(workers: World) -> None:
    workers.images(a="1")
    assert workers() == 0
    [file] = (workers.place / "a.db.answers").glob("*.json")
    file.write_text(file.read_text()[:100])
    assert workers(trap=("--db_overwrite",)) == 0
    assert workers.asked == {("extract_table", "a"): 2}


def test_two_runs_do_not_share_a_folder_of_answers(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1")
    statuses = []

    def another(task: str, image: str, times: int) -> dict[str, Any]:
        workers.change = lambda *_: {}
        statuses.append(workers.run.Kept)
        with pytest.raises(Exception, match="another run uses them"):
            workers.run.Kept(workers.place / "answers", None)
        return {}

    workers.change = another
    assert workers("--keep", str(workers.place / "answers")) == 0
    assert len(statuses) == 1
    assert len([*(workers.place / "answers").glob("*.json")]) == 1


def test_another_run_of_the_same_database_is_refused_though_it_keeps_its_answers_elsewhere(
    workers: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would take the file that this one writes away, and this one would give its own, half, the name of a whole."""
    workers.images(a="1", b="2")
    statuses = []

    def another(task: str, image: str, times: int) -> dict[str, Any]:
        workers.change = lambda *_: {}
        statuses.append(subprocess.run([sys.executable, "-c", ANOTHER, "a.db.part.lock"], cwd=workers.place).returncode)
        return {}

    workers.change = another
    assert workers("--keep", str(workers.place / "answers")) == 0
    assert statuses == [0]
    assert workers.rows("select count(*) from images") == [(2,)]
    assert [path.name for path in workers.place.glob("a.db*")] == ["a.db"]

    with disk.alone(workers.place / "a.db.part.lock"):
        assert workers("--keep", str(workers.place / "more"), trap=("--db_overwrite",)) == 75
    assert f"cannot write {workers.place}/a.db: another run writes it; wait for its end" in capsys.readouterr().err
    assert workers("--keep", str(workers.place / "more"), trap=("--db_overwrite",)) == 0


# --- what a disk refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["answers", "database"])
def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(
    workers: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    workers.images(a="1", b="2", c="3")
    kept, written = workers.run.Kept.keep, list[str]()

    def keep(self: Any, name: str, answer: dict[str, Any]) -> None:
        if what == "answers" and len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.folder / name))
        kept(self, name, answer)
        written.append(name)

    def full(*_: Any) -> None:
        with sqlite3.connect(":memory:") as connection:
            connection.execute("create table t (x)")
            connection.execute("pragma max_page_count = 2")
            connection.execute("insert into t values (zeroblob(100000))")

    with monkeypatch.context() as patch:
        patch.setattr(workers.run.Kept, "keep", keep)
        if what == "database":
            patch.setattr(importlib.import_module("trapd.distribute.trap_database").SQLite, "finish", full)
        assert workers("--in-flight", "1") == 1
    words = {"answers": "No space left on device: ", "database": "database or disk is full"}[what]
    said = capsys.readouterr().err
    assert f"trapd: cannot go on: {words}" in said
    assert "mend that and type the same command again" in said
    assert not (workers.place / "a.db").exists()
    assert workers() == 0
    again = {"a": 1, "b": 1, "c": 1 if what == "database" else 2}
    assert workers.asked == {("extract_table", image): times for image, times in again.items()}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            "none",
            "cannot begin: Cannot interpret supplied path as directory or file: {}/none. Does this location exist?",
        ),
        ("empty", "cannot begin: there is no FITS image in {}/empty; name a folder, a file or a pattern"),
    ],
)
@pytest.mark.parametrize("on_error", ["reject", "stop"])
def test_a_place_without_images_is_a_sentence(
    world: World, capsys: pytest.CaptureFixture[str], place: str, words: str, on_error: str
) -> None:
    (world.place / "empty").mkdir()
    arguments = ["-i", str(world.place / place), "--db_name", str(world.place / "a.db")]
    assert world.run.main(["--on-error", on_error, "--", *arguments]) == 1
    assert f"trapd: {words.format(world.place)}" in capsys.readouterr().err


def test_an_error_of_a_program_keeps_its_traceback(workers: World) -> None:
    workers.images(a="1")
    workers.change = lambda *_: {"raise": ZeroDivisionError("no")}
    with pytest.raises(ZeroDivisionError):
        workers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_a_run_in_order_as_sigterm_does(workers: World, number: signal.Signals) -> None:
    workers.images(a="1")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup

    def close(*_: object) -> dict[str, Any]:
        handler = signal.getsignal(number)
        assert callable(handler)
        with pytest.raises(SystemExit) as end:
            handler(number, None)
        return {"raise": end.value}

    workers.change = close
    with pytest.raises(SystemExit) as end:
        workers()
    assert end.value.code == 128 + number
    assert isinstance(workers.ends[0], SystemExit), "what waits is revoked"


def test_under_nohup_a_closed_terminal_ends_no_run(workers: World) -> None:
    workers.images(a="1")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert workers() == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


# --- more than one version of the code --------------------------------------------------------------------------------


def test_by_default_an_answer_of_other_code_ends_the_run(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1", b="2", c="3")
    digests = {"a": "4f5e", "b": "4f5e", "c": "9999"}
    workers.change = lambda task, image, times: {"digest": digests[image]}
    assert workers("--in-flight", "1") == 25
    assert "c.fits was answered with numba 0.61.2" in capsys.readouterr().err
    assert not (workers.place / "a.db").exists()


@pytest.mark.parametrize("before", ["interrupted", "a mixture", "begun again in vain"])
def test_kept_answers_of_code_that_workers_have_no_more_are_not_in_the_way(
    workers: World, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Who only submits runs what is installed, which has no digest to compare with."""
    workers.images(a="1", b_fit="2", c="3")
    digests = {"a": "one", "b_fit": "two" if before == "a mixture" else "one"}

    def interrupt(task: str, image: str, times: int) -> dict[str, Any]:
        return {"raise": KeyboardInterrupt()} if image == "c" else {"digest": digests[image]}

    workers.change = interrupt
    assert workers("--in-flight", "1", *(("--on-upgrade", "mix") if before == "a mixture" else ())) == 130
    workers.change = lambda task, image, times: {"digest": "two"}
    if before == "begun again in vain":  # PostgreSQL may not let go of the first one's database
        monkeypatch.setattr(workers.run, "ROUNDS", 1)
        assert workers("--in-flight", "1") == 25
    assert workers("--in-flight", "1") == 0
    assert workers.rows("select distinct digest, fit_digest from trapd_provenance order by 2") == [
        ("two", None),
        ("two", "two"),
    ]
    assert workers.rows("select state, codes from trapd_run") == [("complete", 1)]


def test_workers_with_another_trap_are_refused_at_once(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1")
    workers.change = lambda task, image, times: other_code()
    assert workers() == 25
    assert "and Trap runs here with" in capsys.readouterr().err


def test_with_redo_the_fewer_ones_are_extracted_again(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1", b_fit="2", c="3")

    def upgraded_meanwhile(task: str, image: str, times: int) -> dict[str, Any]:
        return {"digest": "0ld" if image == "a" and times == 1 else "new"}

    workers.change = upgraded_meanwhile
    assert workers("--on-upgrade", "redo") == 0
    assert workers.asked["extract_table", "a"] == 2
    assert workers.asked["extract_table", "c"] == 1
    assert workers.fluxes() == {0: [1.0], 1: [2.0, 0.125], 2: [3.0]}
    assert workers.rows("select distinct digest from trapd_provenance") == [("new",)]
    assert workers.rows("select state, codes from trapd_run") == [("complete", 1)]


def test_redo_takes_the_code_that_workers_have_if_the_other_one_is_gone(workers: World) -> None:
    workers.images(a="1", b="2", c="3")
    workers.change = lambda task, image, times: {"digest": "0ld" if image != "c" and times == 1 else "new"}
    assert workers("--on-upgrade", "redo") == 0
    assert workers.rows("select distinct digest from trapd_provenance") == [("new",)]


def test_redo_does_not_end_on_the_main_line_of_another_trap(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1", b="2", c="3")
    workers.change = lambda task, image, times: other_code() if image != "a" else {}
    assert workers("--on-upgrade", "redo", "--in-flight", "1") == 25
    assert "workers answer with numba 0.61.2" in capsys.readouterr().err
    assert not (workers.place / "a.db").exists()
    assert len([*(workers.place / "a.db.answers").glob("*.json")]) == 3, "the run on the other Trap uses them"


def test_redo_does_not_call_a_run_complete_whose_answers_are_all_of_another_trap(workers: World) -> None:
    workers.images(a="1")
    workers.change = lambda task, image, times: other_code()
    assert workers("--on-upgrade", "redo") == 25
    assert not (workers.place / "a.db").exists()


def test_a_run_that_begins_on_the_next_trap_asks_the_old_answers_again(workers: World) -> None:
    workers.images(a="1", b="2", c="3")
    workers.change = lambda task, image, times: other_code("9.7") if image != "c" and times == 1 else {}
    assert workers("--on-upgrade", "redo", "--in-flight", "1") == 0
    assert workers.rows("select distinct trap from trapd_provenance") == [("9.8.7",)]
    assert workers.rows("select state, codes from trapd_run") == [("complete", 1)]


def test_answers_of_another_trap_than_that_of_the_main_line_are_a_mixture(workers: World) -> None:
    workers.images(a="1")
    workers.change = lambda task, image, times: other_code()
    assert workers("--on-upgrade", "mix") == 25
    assert workers.rows("select state, codes, trap from trapd_run") == [("mixed", 1, "9.8.7")]


def test_a_mixture_is_told_in_the_database_and_by_the_status(
    workers: World, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.images(a="1", b="2")
    workers.change = lambda task, image, times: {"digest": image}
    assert workers("--on-upgrade", "mix") == 25
    assert workers.rows("select digest from trapd_provenance") == [("a",), ("b",)]
    assert workers.rows("select state, codes from trapd_run") == [("mixed", 2)]
    assert "NOT COMPARABLE" in capsys.readouterr().err


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_broker_that_does_not_answer_is_status_75(
    world: World, app: Celery, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.images(a="1")
    app.conf.update(task_always_eager=False, broker_url="amqp://me:secret@127.0.0.1:1//")
    assert world() == 75
    words = capsys.readouterr().err
    assert "cannot reach the broker amqp://me:**@127.0.0.1:1//" in words
    assert "secret" not in words


def test_memory_decides_how_many_images_are_in_work_at_once(workers: World, capsys: pytest.CaptureFixture[str]) -> None:
    workers.images(a="1")
    assert workers(trap=("--at_once", "3")) == 0
    assert "3 images at once: each needs about 20 times its file" in capsys.readouterr().err
    assert workers("--in-flight", "8", trap=("--at_once", "3", "--db_overwrite")) == 0
    assert "WARNING: 8 images at once may need more memory" in capsys.readouterr().err


def test_an_environment_without_trap_is_said_to_be_one(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise importlib.metadata.PackageNotFoundError("trap")

    monkeypatch.setattr(world.run.provenance, "versions", missing)
    assert world() == 1
    assert "has no trap; install it" in capsys.readouterr().err


def test_options_of_trap_that_do_no_work_are_traps(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        world.run.main(["--", "--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, "TraP version\n")
