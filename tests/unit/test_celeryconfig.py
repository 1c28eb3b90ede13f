"""The Celery settings that are shipped: both files load, and messages as files are whole and taken once."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES

ETC = Path(__file__).parents[2] / "etc"


def module(text: str) -> ModuleType:
    made = ModuleType("celeryconfig")
    exec(compile(text, "celeryconfig.py", "exec"), vars(made))
    return made


def celery(text: str) -> Celery:
    app = Celery("test", set_as_current=False)
    app.config_from_object(module(text))
    return app


def test_the_shipped_file_means_rabbitmq_here_and_results_to_the_submitter() -> None:
    conf = celery((ETC / "celeryconfig.py").read_text()).conf
    assert (conf.broker_url, conf.result_backend) == ("amqp://guest:guest@localhost:5672//", "rpc://")
    assert (conf.broker_connection_retry_on_startup, conf.broker_connection_max_retries) == (True, None)


def test_the_shipped_files_fix_nothing_that_is_the_applications_own_affair(files: ModuleType) -> None:
    for shipped in (module((ETC / "celeryconfig.py").read_text()), files):
        said = {name for name in vars(shipped) if name in SETTING_KEYS}
        assert said - {"broker_transport_options"} == {
            "broker_url",
            "broker_connection_retry_on_startup",
            "broker_connection_max_retries",
            "result_backend",
        }


def test_its_advice_for_late_acknowledgement_can_be_switched_on() -> None:
    text, count = re.subn(r"(?m)^# (\w+ = True)$", r"\1", (ETC / "celeryconfig.py").read_text())
    conf = celery(text).conf
    assert count == 3
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_cancel_long_running_tasks_on_connection_loss


def test_every_setting_of_the_shipped_files_is_one_that_celery_knows(files: ModuleType) -> None:
    for shipped in (module((ETC / "celeryconfig.py").read_text()), files):
        settings = {name for name in vars(shipped) if re.match("broker|result|task|worker|accept", name)}
        assert len(settings) >= 4
        assert settings <= SETTING_KEYS
        assert shipped.broker_connection_max_retries is None  # `trapctl check` warns of anything else


# --- the embedded broker --------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The embedded settings, executed, with their files in tmp_path."""
    monkeypatch.setitem(TRANSPORT_ALIASES, "filesystem", TRANSPORT_ALIASES["filesystem"])  # put back afterwards
    monkeypatch.setenv("TRAPD_STATE_DIRECTORY", str(tmp_path))
    return module((ETC / "celeryconfig-embedded.py").read_text())


@pytest.fixture
def connection(files: ModuleType) -> Iterator[Connection]:
    with Connection(
        "filesystem://", transport=files._Transport, transport_options=files.broker_transport_options
    ) as made:
        yield made


def take(connection: Connection, queue: str = "q") -> Any:
    return connection.channel()._get(queue)


def test_the_embedded_file_makes_its_folders_under_the_state_directory(files: ModuleType, tmp_path: Path) -> None:
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert made == {"broker", "broker/messages", "broker/control", "broker/results"}
    assert files.result_backend == f"file://{tmp_path}/broker/results"
    assert TRANSPORT_ALIASES["filesystem"]() is files._Transport


def test_messages_come_in_order_whole_and_once(connection: Connection, tmp_path: Path) -> None:
    sender, other = connection.channel(), connection.channel()
    for n in range(3):
        sender._put("q", {"n": n})
    other._put("elsewhere.q", {"n": "not for q"})
    assert [take(connection)["n"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Empty):
        take(connection)
    assert len(list((tmp_path / "broker" / "messages").iterdir())) == 1


def test_a_message_that_is_half_written_is_not_taken(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_to_take() -> None:
        with pytest.raises(Empty):
            take(connection)

    class Body:
        def __json__(self) -> str:  # kombu's own transport has opened the file by the time it asks for this
            nothing_to_take()
            return "whole"

    def slowly(path: Path, text: str) -> None:
        with path.open("w") as stream:
            for part in (text[:5], text[5:]):
                nothing_to_take()
                stream.write(part)
                stream.flush()

    monkeypatch.setattr(Path, "write_text", slowly)
    connection.channel()._put("q", {"body": Body()})
    monkeypatch.undo()
    assert take(connection) == {"body": "whole"}


def test_of_two_who_see_a_message_one_takes_it(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.channel()._put("q", {"n": 1})
    listing, seen = os.listdir, []

    def seen_by_both(folder: str) -> list[str]:
        names = listing(folder)
        if not seen:  # the other one looks, and takes it, between our look and our grasp
            seen.append(names)
            seen.append(take(connection))
        return names

    monkeypatch.setattr(os, "listdir", seen_by_both)
    with pytest.raises(Empty):
        take(connection)
    assert seen[1] == {"n": 1}


def test_what_a_killed_worker_had_in_its_hand_is_put_back(
    files: ModuleType, connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connection.channel()._put("q", {"n": 1})
    with monkeypatch.context() as killed:
        killed.setattr(Path, "read_text", lambda _path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take(connection)
    text = (ETC / "celeryconfig-embedded.py").read_text()
    module(text)
    with pytest.raises(Empty):
        take(connection)  # too young: it may yet be read
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    module(text)
    assert take(connection) == {"n": 1}


def test_what_nobody_will_ask_for_is_removed_and_tasks_are_not(
    files: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broker, now = tmp_path / "broker", time.time()
    kept = "messages/1_a.celery.msg"
    hour = {"messages/1_b.gpu-7-1@host.celery.pidbox.msg", "messages/.1_c.celery.msg.coming"}
    day = {"results/celery-task-meta-1"}
    for name in (kept, *hour, *day):
        (broker / name).write_text("{}")
    for age, left in ((3500, {kept, *hour, *day}), (3700, {kept, *day}), (86500, {kept})):
        monkeypatch.setattr(time, "time", lambda age=age: now + age)
        module((ETC / "celeryconfig-embedded.py").read_text())
        assert {str(path.relative_to(broker)) for path in broker.rglob("*") if path.is_file()} == left


def test_queues_bound_at_the_same_time_are_both_bound(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other worker makes the table after we looked for it: kombu alone would then open it anew, emptied."""
    link = os.link

    def other_first(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        connection.channel()._queue_bind("e", "theirs", "", "theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", other_first)
    connection.channel()._queue_bind("e", "ours", "", "ours")
    assert {entry.queue for entry in connection.channel().get_table("e")} == {"ours", "theirs"}
    assert [path.name for path in (tmp_path / "broker" / "control").iterdir()] == ["e.exchange"]
