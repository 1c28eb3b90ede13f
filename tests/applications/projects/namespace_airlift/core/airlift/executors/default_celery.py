"""Settings in a dict, named by the application's `config_source`."""

import os

DEFAULT_CELERY_CONFIG = {
    "accept_content": ["json"],
    "event_serializer": "json",
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    "task_default_queue": "default",
    "task_default_exchange": "default",
    "task_track_started": True,
    "broker_url": os.environ.get("BROKER_URL", "redis://localhost"),
    "broker_transport_options": {"visibility_timeout": 86400},
    "result_backend": os.environ.get("RESULT_BACKEND", "redis://localhost"),
    "worker_concurrency": 2,
    "worker_enable_remote_control": True,
}
