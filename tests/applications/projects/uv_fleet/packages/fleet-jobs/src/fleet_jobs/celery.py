"""Found by `celery -A fleet_jobs`. One setting is assigned after another was read."""

from celery import Celery

app = Celery("fleet")
app.config_from_object("fleet_jobs.celeryconfig")
if app.conf.result_expires:
    app.conf.task_store_errors_even_if_ignored = True
