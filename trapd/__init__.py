"""trapd keeps Celery workers running, current and safe."""

__version__ = "0.1.0"
