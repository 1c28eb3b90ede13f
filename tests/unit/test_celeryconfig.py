"""The Celery settings that are shipped: both files load, and mean what they say."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS

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
    monkeypatch.setenv("TRAPD_STATE_DIRECTORY", str(tmp_path))
    return module((ETC / "celeryconfig-embedded.py").read_text())


def test_the_embedded_file_makes_its_folders_under_the_state_directory(files: ModuleType, tmp_path: Path) -> None:
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert made == {"broker", "broker/messages", "broker/control", "broker/results"}
    assert files.result_backend == f"file://{tmp_path}/broker/results"


def test_what_nobody_will_ask_for_is_removed_and_tasks_are_not(
    files: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broker, now = tmp_path / "broker", time.time()
    kept, hour, day = (
        "messages/1_a.celery.msg",
        "messages/1_b.gpu-7-1@host.celery.pidbox.msg",
        "results/celery-task-meta-1",
    )
    for name in (kept, hour, day):
        (broker / name).write_text("{}")
    for age, left in ((3500, {kept, hour, day}), (3700, {kept, day}), (86500, {kept})):
        monkeypatch.setattr(time, "time", lambda age=age: now + age)
        module((ETC / "celeryconfig-embedded.py").read_text())
        assert {str(path.relative_to(broker)) for path in broker.rglob("*") if path.is_file()} == left
