"""Celery's settings without any server: tasks, results and remote control as files under trapd's state directory.

For trying trapd, for laptops and for single containers; some 150 messages a second. Where work must not be lost, use
RabbitMQ (celeryconfig.py beside this file): here a worker that is killed takes its tasks with it, late acknowledgement
or not. Every worker, and every program that submits, needs the same TRAPD_STATE_DIRECTORY.
"""

import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from queue import Empty

from kombu.transport import TRANSPORT_ALIASES, _transport_cache, filesystem
from kombu.utils import json

_broker = Path(os.environ.get("TRAPD_STATE_DIRECTORY", "/var/lib/trapd")) / "broker"
_messages, _control, _results = _broker / "messages", _broker / "control", _broker / "results"
for _folder in (_messages, _control, _results):
    _folder.mkdir(parents=True, exist_ok=True)


class _Channel(filesystem.Channel):
    """kombu's, but a message comes and goes in one step.

    kombu 5.7 writes a message in place and takes it without waiting for the writer: three busy takers on two cores got
    1 of 8,000 messages empty, that is, lost it. It also takes by moving to the temporary folder; where that is another
    file system (a container's volume, PrivateTmp) moving is copying, which two workers can do at once.
    """

    def _put(self, queue, payload, **kwargs):
        whole = Path(self.data_folder_out, f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg")
        coming = whole.with_name(f".{whole.name}.coming")
        coming.write_text(json.dumps(payload))
        coming.rename(whole)

    def _get(self, queue):
        for name in sorted(os.listdir(self.data_folder_in)):  # noqa: PTH208
            if name.partition(".")[2] == f"{queue}.msg":
                with suppress(FileNotFoundError):  # another worker was quicker
                    taken = Path(self.data_folder_in, name).rename(Path(self.data_folder_in, f".{name}.taken"))
                    payload = json.loads(taken.read_text())
                    taken.unlink()
                    return payload
        raise Empty

    def _queue_bind(self, exchange, *args):
        # Likewise: of two workers that make the same table at the same time, one would empty the other's.
        empty = Path(self.control_folder, f".{uuid.uuid4()}.coming")
        empty.write_text("[]")
        with suppress(FileExistsError):
            os.link(empty, Path(self.control_folder, f"{exchange}.exchange"))
        empty.unlink()
        super()._queue_bind(exchange, *args)


class _Transport(filesystem.Transport):
    Channel = _Channel


TRANSPORT_ALIASES["filesystem"] = lambda: _Transport
_transport_cache.pop("filesystem", None)  # kombu remembers the class that this process used before


def _older(folder, pattern, seconds):
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another worker tidies as well
            if file.stat().st_ctime < time.time() - seconds:
                yield file


# Nobody else ever tidies: neither this transport nor results in files know when something has expired.
for _file in _older(_messages, ".*.taken", 60):  # by a worker that was killed before it had read it: put back
    with suppress(FileNotFoundError):
        _file.rename(_file.with_name(_file.name.removeprefix(".").removesuffix(".taken")))
for _folder, _pattern, _seconds in (
    (_messages, ".*.coming", 3600),  # half written
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
