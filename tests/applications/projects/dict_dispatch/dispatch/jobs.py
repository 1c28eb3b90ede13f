"""Settings in a dict: four queues of RabbitMQ with priorities, late acknowledgement, routes by name."""

import os
import time

from celery import Celery
from kombu import Exchange, Queue

import dispatch

_exchange = Exchange("dispatch", type="direct")


def _queue(name):
    return Queue(name, _exchange, routing_key=name, queue_arguments={"x-max-priority": 10})


app = Celery("dispatch")
app.config_from_object(
    {
        "broker_url": os.environ.get("BROKER_URL", "amqp://localhost"),
        "result_backend": os.environ.get("RESULT_BACKEND", "rpc://"),
        "task_queues": [_queue(name) for name in ("normal", "urgent", "bulk", "reports")],
        "task_default_queue": "normal",
        "task_default_exchange": "dispatch",
        "task_default_routing_key": "normal",
        "task_default_priority": 5,
        "task_routes": {
            "dispatch.jobs.alarm": {"queue": "urgent", "priority": 9},
            "dispatch.jobs.report": {"queue": "reports"},
            "dispatch.jobs.letter": {"queue": "bulk", "priority": 1},
        },
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 3,
        "task_soft_time_limit": 300,
        "task_time_limit": 360,
    }
)


def _where(task):
    return [task.request.delivery_info["routing_key"], task.request.delivery_info["priority"]]


@app.task(bind=True)
def alarm(self):
    return _where(self)


@app.task(bind=True)
def report(self):
    return [*_where(self), self.request.timelimit]


@app.task(bind=True)
def letter(self):
    return _where(self)


@app.task(bind=True)
def ordinary(self):
    return [*_where(self), self.app.conf.task_time_limit]


@app.task(bind=True)
def work(self, ledger, seconds):
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {dispatch.VERSION}\n")
    time.sleep(seconds)
    return dispatch.VERSION
