"""The Celery application of the workspace."""
