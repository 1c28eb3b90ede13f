"""The Celery application for Trap.

Of its own it has only the settings that follow from what its tasks are. A worker of trapd puts the system-wide
celeryconfig on top; anywhere else Celery's default loader looks for a module ``celeryconfig``, or the one that
``CELERY_CONFIG_MODULE`` names, for broker and results.

This module travels with every snapshot, and submitters import it where Trap is not installed: it must not import Trap.
The tasks, which do, are named in ``include``: a worker imports them before it says that it is ready, so that the half
minute Trap takes, and an import error of a new Trap, belong to the start and not to the first task.
"""

from __future__ import annotations

from celery import Celery

TASKS = "trapd.distribute.tasks"
EXTRACT_SOURCES = "trapd.distribute.extract_sources"  # the task's registered name: submitters send by name

app = Celery("trapd", loader="default", include=[TASKS])
app.conf.update(
    # JSON only: whoever can put a pickle into the broker can run code in the workers.
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    # An image takes long: one in reserve for each that a worker can process, not four, which wait while others idle.
    worker_prefetch_multiplier=1,
)
