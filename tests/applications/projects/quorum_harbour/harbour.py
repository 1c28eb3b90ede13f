"""A quorum queue of RabbitMQ that drops a message at its 21st delivery, as RabbitMQ 4 does by itself."""

import os
import time

from celery import Celery
from kombu import Queue

VERSION = "1.0"
app = Celery("harbour")


class Config:
    broker_url = os.environ.get("BROKER_URL", "amqp://localhost")
    result_backend = os.environ.get("RESULT_BACKEND", "rpc://")
    task_queues = (Queue("harbour", queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": 20}),)
    task_default_queue = "harbour"
    task_acks_late = True
    worker_prefetch_multiplier = 1


app.config_from_object(Config)


@app.task
def moor(ship):
    return f"{ship} is moored"


@app.task(bind=True)
def work(self, ledger, seconds):
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {VERSION}\n")
    time.sleep(seconds)
    return VERSION
