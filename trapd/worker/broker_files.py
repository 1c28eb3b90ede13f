"""The embedded broker, kombu's filesystem transport, needs tidying that brokers with a server do by themselves."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from celery import Celery

from trapd import atomic
from trapd.worker.file_broker import make_table

STALE = 3600.0  # s


def prepare(app: Celery, node: str) -> None:
    """Before the worker starts. Does nothing with any other broker.

    Commands to a worker of this node name that died are still there and would be carried out (a ``cancel_consumer``
    for instance, after which the new one idles): they are removed. The exchanges' files are made, each in one step:
    kombu writes a new one in two, and a second worker that reads between the two dies.
    """
    if not _is_files(app):
        return
    folder = Path(app.conf.broker_transport_options.get("control_folder", "control"))
    exchanges = {queue.exchange.name for queue in app.amqp.queues.values() if queue.exchange}
    mailbox = app.control.mailbox
    for name in exchanges | {mailbox.exchange.name, mailbox.reply_exchange.name}:
        make_table(folder / f"{name}.exchange")
    _remove_half_written(Path(app.conf.broker_transport_options.get("data_folder_out", "data_out")))
    with app.connection_for_write() as connection:
        mailbox.get_queue(node)(connection.default_channel).purge()


def leave(app: Celery, node: str) -> None:
    """After the worker's end: no commands for it any more. Without this they pile up, as files, for ever."""
    if _is_files(app):
        with app.connection_for_write() as connection:
            mailbox = app.control.mailbox.get_queue(node)(connection.default_channel)
            mailbox.queue_bind()  # kombu unbinds only what it knows that it bound
            mailbox.delete()


def _is_files(app: Celery) -> bool:
    return bool(app.connection_for_write().transport.driver_type == "filesystem")


def _remove_half_written(folder: Path) -> None:
    """By workers that were killed."""
    earlier = ".coming"  # workers of an earlier trapd
    for file in [*folder.glob(f".*.msg{atomic.UNFINISHED}"), *folder.glob(f".*.msg{earlier}")]:
        with contextlib.suppress(FileNotFoundError):  # another worker tidies as well
            if file.stat().st_mtime < time.time() - STALE:
                file.unlink()
