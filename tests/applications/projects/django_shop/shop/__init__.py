"""The project. Loads the Celery application with Django, so that `shared_task` uses it."""

from shop.celery import app as celery_app

VERSION = "1.0"
__all__ = ("VERSION", "celery_app")
