"""The tasks."""

import time

import fleet_core

from fleet_jobs.celery import app


@app.task
def length(ports):
    return fleet_core.distance(ports)


@app.task(bind=True)
def work(self, ledger, seconds):
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {fleet_core.VERSION}\n")
    time.sleep(seconds)
    return fleet_core.VERSION
