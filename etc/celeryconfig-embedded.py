"""Settings of Celery without any server: tasks, results and remote control are files under trapd's state directory.

Use this file to try trapd, on laptops and in single containers; it carries about 150 messages a second. Where work must
not be lost, use RabbitMQ (celeryconfig.py beside this file): with files, a worker that is killed loses its tasks, also
with late acknowledgement. Every worker, and every program that submits tasks, needs the same TRAPD_STATE_DIRECTORY.
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
        with suppress(FileNotFoundError):  # another worker has removed the file
            if file.stat().st_ctime < time.time() - seconds:
                yield file


# Remove expired files here: neither this transport nor Celery's results in files ever removes them.
for _folder, _pattern, _seconds in (
    (_messages, "*.pidbox.msg", 3600),  # commands to workers, and answers to clients, that have ended
    (_results, "celery-task-meta-*", 86400),  # a day, as Celery's result_expires says for other backends
):
    for _file in _older(_folder, _pattern, _seconds):
        _file.unlink(missing_ok=True)

broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": str(_messages),
    "data_folder_out": str(_messages),  # the same folder: a message that one process sends, the others receive
    "control_folder": str(_control),
    "polling_interval": 0.1,  # with the default of a second, each task and each answer would wait that long
}
result_backend = f"file://{_results}"

broker_connection_retry_on_startup = True  # without it, Celery 5.3 and later warn at each start
broker_connection_max_retries = None  # without it, a worker gives up after 100 attempts
