"""One module beside nothing else, for `celery -A crawl worker -P gevent`."""

import os
import socket
import threading
import time

from celery import Celery

VERSION = "1.0"
app = Celery("crawl", broker=os.environ.get("BROKER_URL"), backend=os.environ.get("RESULT_BACKEND"))
app.conf.task_default_queue = "crawl"


@app.task
def patched():
    """Whether what blocks was replaced: then hundreds of waits fit into one thread."""
    return [socket.socket.__module__, time.sleep.__module__, type(threading.current_thread()).__name__]


@app.task(bind=True)
def work(self, ledger, seconds):
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {VERSION}\n")
    time.sleep(seconds)
    return VERSION
