"""The embedded broker, kombu's filesystem transport, needs tidying that brokers with a server do by themselves."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from celery import Celery


def prepare(app: Celery, node: str) -> None:
    """Before the worker starts. Does nothing with any other broker.

    Commands to a worker of this node name that died are still there and would be carried out (a ``cancel_consumer``
    for instance, after which the new one idles): they are removed. The exchanges' files are made, each in one step:
    kombu writes a new one in two, and a second worker that reads between the two dies.
    """
    if not _is_files(app):
        return
    folder = Path(app.conf.broker_transport_options.get("control_folder", "control"))
    folder.mkdir(parents=True, exist_ok=True)
    exchanges = {queue.exchange.name for queue in app.amqp.queues.values() if queue.exchange}
    mailbox = app.control.mailbox
    for name in exchanges | {mailbox.exchange.name, mailbox.reply_exchange.name}:
        _make(folder / f"{name}.exchange")
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


def _make(file: Path) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text("[]")
    with contextlib.suppress(FileExistsError):
        os.link(fresh, file)
    fresh.unlink()
