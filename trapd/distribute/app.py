"""The Celery application for Trap.

It sets only what its tasks require. In a worker of trapd the system-wide celeryconfig overrides these settings;
anywhere else Celery's default loader looks for a module ``celeryconfig``, or the one that ``CELERY_CONFIG_MODULE``
names, for broker and results.

This module travels with every snapshot, and submitters import it where Trap is not installed: it must not import Trap.
The tasks do import Trap, and are named in ``include``: a worker imports them before it sends READY, so that the half
minute that Trap takes, and an import error of a new Trap, belong to the start and not to the first task.
"""

from __future__ import annotations

from celery import Celery

TASKS = "trapd.distribute.tasks"
EXTRACT_SOURCES = "trapd.distribute.extract_sources"  # the task's registered name: submitters send by name
# The tasks of a whole run (trapd.distribute.run): their answers are exact, but only Trap's environment can read them.
EXTRACT_TABLE = "trapd.distribute.extract_table"
FIT_POSITIONS = "trapd.distribute.fit_positions"

app = Celery("trapd", loader="default", include=[TASKS])
app.conf.update(
    # JSON only: a user who can put a pickle into the broker can run code in the workers.
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    # Images take long: a worker reserves one for each that it can process, not four, which would wait behind the first
    # while other workers are idle.
    worker_prefetch_multiplier=1,
)
