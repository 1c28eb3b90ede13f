"""Settings of Celery for programs that submit tasks through RabbitMQ, with an account that can do nothing else.

Copy this file beside your program as `celeryconfig.py`; docs/users.md of trapd describes the account. The file has no
secrets: your account is in ~/.config/trapd/broker_url, one line, amqp://NAME:PASSWORD@HOST:5672// (mode 0600).
"""

from pathlib import Path

from celery.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

# The queues of the service to which you may send tasks; the first is the default.
_queues = ["celery"]

_account = Path.home() / ".config/trapd/broker_url"
try:
    broker_url = _account.read_text().strip()
except OSError as error:
    raise ImproperlyConfigured(
        f"cannot read {_account}: {error.strerror}; write amqp://NAME:PASSWORD@HOST:5672// into it"
    ) from None

# Answers come back to this program only. They are lost when it ends before it has read them: see docs/users.md.
result_backend = "rpc://"

# Workers make the queues; your account may not. Each queue is behind an exchange of its name. "topic" is never told to
# RabbitMQ: it makes Celery publish to that exchange. For "direct", Celery takes RabbitMQ's default exchange: it
# leads to every queue, also those on which workers receive remote control.
task_queues = [Queue(_name, Exchange(_name, "topic", no_declare=True), _name, no_declare=True) for _name in _queues]
task_default_queue = _queues[0]

# A task that RabbitMQ refuses is an error at once. Without this setting it would disappear, and no answer would come.
broker_transport_options = {"confirm_publish": True}
