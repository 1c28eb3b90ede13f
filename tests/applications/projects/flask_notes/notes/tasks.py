"""Tasks that need the application's context: configuration and templates."""

import time

from celery import shared_task
from flask import current_app, render_template

import notes


@shared_task(ignore_result=False)
def render(text):
    """The note as it would be shown."""
    return render_template("note.txt", greeting=current_app.config["GREETING"], text=text).strip()


@shared_task
def words(text):
    """A set: JSON has none, so this task's answer is a pickle."""
    return set(text.split())


@shared_task(bind=True)
def work(self, ledger, seconds):
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {notes.VERSION}\n")
    time.sleep(seconds)
    return notes.VERSION
