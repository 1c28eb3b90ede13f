"""One task that runs whatever is named: also what another distribution provides, imported late."""

import importlib
import time

from celery import Celery

import airlift
from airlift.executors.default_celery import DEFAULT_CELERY_CONFIG

app = Celery("airlift.executors.celery_executor", config_source=DEFAULT_CELERY_CONFIG)


@app.task
def execute(operator, *arguments):
    module, _, function = operator.rpartition(".")
    return getattr(importlib.import_module(f"airlift.providers.{module}"), function)(*arguments)


@app.task(bind=True)
def work(self, ledger, seconds):
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {airlift.VERSION}\n")
    time.sleep(seconds)
    return airlift.VERSION
