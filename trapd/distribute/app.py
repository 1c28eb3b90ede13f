"""The Celery application for Trap.

It has no settings of its own. A worker of trapd gives it the system-wide celeryconfig; anywhere else Celery's default
loader looks for a module ``celeryconfig``, or the one that ``CELERY_CONFIG_MODULE`` names.

This module travels with every snapshot, and submitters import it where Trap is not installed: it must not import Trap.
The tasks, which do, are named in ``include``: a worker imports them before it says that it is ready, so that the half
minute Trap takes, and an import error of a new Trap, belong to the start and not to the first task.
"""

from __future__ import annotations

from celery import Celery

TASKS = "trapd.distribute.tasks"
EXTRACT_SOURCES = "trapd.distribute.extract_sources"  # the task's registered name: submitters send by name

app = Celery("trapd", loader="default", include=[TASKS])
