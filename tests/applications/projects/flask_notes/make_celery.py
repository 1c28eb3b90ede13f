"""What `celery -A make_celery worker` is given: as Flask's documentation has it."""

from notes import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
