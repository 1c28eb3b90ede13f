"""Celery's settings without any server: tasks, results and remote control as files under trapd's state directory.

For trying trapd, for laptops and for single containers; some 150 messages a second. Where work must not be lost, use
RabbitMQ (celeryconfig.py beside this file): here a worker that is killed takes its tasks with it, late acknowledgement
or not. Every worker, and every program that submits, needs the same TRAPD_STATE_DIRECTORY.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

_broker = Path(os.environ.get("TRAPD_STATE_DIRECTORY", "/var/lib/trapd")) / "broker"
_messages, _control, _results = _broker / "messages", _broker / "control", _broker / "results"
for _folder in (_messages, _control, _results):
    _folder.mkdir(parents=True, exist_ok=True)


def _older(folder, pattern, seconds):
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another worker tidies as well
            if file.stat().st_ctime < time.time() - seconds:
                yield file


# Nobody else ever tidies: neither this transport nor results in files know when something has expired.
for _folder, _pattern, _seconds in (
    (_messages, "*.pidbox.msg", 3600),  # commands to workers, and answers to people, that are gone
    (_results, "celery-task-meta-*", 86400),  # a day, as Celery's result_expires says for other backends
):
    for _file in _older(_folder, _pattern, _seconds):
        _file.unlink(missing_ok=True)

broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": str(_messages),
    "data_folder_out": str(_messages),  # the same: what one process sends, the others receive
    "control_folder": str(_control),
    "polling_interval": 0.1,  # with the default of a second, each task and each answer would wait that long
}
result_backend = f"file://{_results}"

broker_connection_retry_on_startup = True  # without it, Celery 5.3 and later warn at each start
broker_connection_max_retries = None  # without it, a worker gives up after 100 attempts
