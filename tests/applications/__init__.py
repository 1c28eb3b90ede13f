"""Applications as people have them, run by plain `celery worker` and by trapd: both have to do the same."""
