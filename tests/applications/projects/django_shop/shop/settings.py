"""Settings of the project, as `django-admin startproject` begins them."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# A file beside the project that is in no repository: `.env`, read as django-environ reads it.
_lines = (BASE_DIR / ".env").read_text().splitlines() if (BASE_DIR / ".env").exists() else []
ENVIRONMENT = dict(line.split("=", 1) for line in _lines if "=" in line)

SECRET_KEY = "only for tests"
SIGNATURE = ENVIRONMENT.get("SHOP_SIGNATURE", "unsigned")
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["django.contrib.contenttypes", "orders"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = BASE_DIR / "media"
USE_TZ = True

CELERY_BROKER_URL = os.environ.get("BROKER_URL", "amqp://localhost")
CELERY_RESULT_BACKEND = os.environ.get("RESULT_BACKEND", "rpc://")
CELERY_TIMEZONE = "Europe/Amsterdam"
CELERY_TASK_DEFAULT_QUEUE = "shop"
CELERY_TASK_ROUTES = {"orders.tasks.receipt": {"queue": "receipts"}}
CELERY_TASK_QUEUES = {"shop": {}, "receipts": {}}
CELERY_TASK_TIME_LIMIT = 600
CELERY_TASK_TRACK_STARTED = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 2
CELERY_BEAT_SCHEDULE = {"count the orders": {"task": "orders.tasks.count", "schedule": 1.0}}
