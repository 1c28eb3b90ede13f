"""The embedded broker is tidied by the workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from trapd.worker import broker_files

NODE = "default-7-1@host"


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    (tmp_path / "messages").mkdir()
    app = Celery("app", set_as_current=False, broker="filesystem://")
    app.conf.broker_transport_options = {
        "data_folder_in": str(tmp_path / "messages"),
        "data_folder_out": str(tmp_path / "messages"),
        "control_folder": str(tmp_path / "control"),
    }
    return app


def table(folder: Path, exchange: str) -> list[Any]:
    return list(json.loads((folder / "control" / f"{exchange}.exchange").read_text()))


def test_commands_for_a_dead_worker_of_the_same_name_are_removed(app: Celery, tmp_path: Path) -> None:
    stale = tmp_path / "messages" / f"1_x.{NODE}.celery.pidbox.msg"
    others = tmp_path / "messages" / "1_y.gpu-7-1@host.celery.pidbox.msg", tmp_path / "messages/1_z.celery.msg"
    for path in (stale, *others):
        path.write_text("{}")
    broker_files.prepare(app, NODE)
    assert not stale.exists()
    assert all(path.exists() for path in others)


def test_exchanges_are_made_whole_and_left_as_they_are_if_they_exist(app: Celery, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control/celery.exchange").write_text('[["celery", "", "celery"]]')
    broker_files.prepare(app, NODE)
    assert table(tmp_path, "celery") == [["celery", "", "celery"]]
    assert table(tmp_path, "celery.pidbox") == []
    assert table(tmp_path, "reply.celery.pidbox") == []
    assert not [path for path in (tmp_path / "control").iterdir() if path.name.startswith(".")]


def test_a_worker_that_leaves_gets_no_commands_any_more(app: Celery, tmp_path: Path) -> None:
    broker_files.prepare(app, NODE)
    with app.connection_for_write() as connection:
        for node in (NODE, "gpu-7-1@host"):
            app.control.mailbox.get_queue(node)(connection.default_channel).declare()
    app.control.broadcast("ping")
    broker_files.leave(app, NODE)
    assert [entry[2] for entry in table(tmp_path, "celery.pidbox")] == ["gpu-7-1@host.celery.pidbox"]
    assert [path.name.partition(".")[2] for path in (tmp_path / "messages").iterdir()] == [
        "gpu-7-1@host.celery.pidbox.msg"
    ]


def test_other_brokers_are_not_touched() -> None:
    app = Celery("app", set_as_current=False, broker="memory://")
    broker_files.prepare(app, NODE)
    broker_files.leave(app, NODE)
