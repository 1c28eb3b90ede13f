"""Source for an application: a consumer that is lost at the broker, while kombu believes that it is still there."""

from __future__ import annotations

LOSES = '''
from celery.worker.control import control_command


@control_command()
def lose(state, queue=None):
    """Lose the consumer of one queue, or of all."""
    consumer = state.consumer.task_consumer
    for name, tag in consumer._active_tags.items():
        if queue in (None, name):
            consumer.channel.basic_cancel(tag)
'''
