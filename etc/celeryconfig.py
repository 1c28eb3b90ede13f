"""Celery's settings that are fixed for every worker on this machine, and for every program that gives them work.

This is Celery's own kind of file: plain Python, one name a setting, all of them described at
https://docs.celeryq.dev/en/stable/userguide/configuration.html. What stands here goes before the application's own
settings; what does not stays as the application has it. So this file names only what a service must fix: where the
broker and the results are, and that workers wait for them. `trapctl check` lists each setting and where it comes from.

The old upper-case names (BROKER_URL, CELERY_RESULT_BACKEND, ...) work as well, but a file must keep to one spelling. A
change here recycles the workers as a change of code does. Keep passwords out of reach: chmod 0640, group of the workers
and of those who submit.
"""

# RabbitMQ on this host with its default account, which RabbitMQ lets in from this host only.
broker_url = "amqp://guest:guest@localhost:5672//"

# A worker that starts before its broker waits for it, and one that lost it tries for ever: starting again would not
# mend the broker. trapd shows both. (Without the first line, Celery 5.3 and later warn at each start; without the
# second, a worker gives up after 100 attempts.)
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# Results go back to the program that asked, and to no other; nothing is stored.
result_backend = "rpc://"

# JSON only: whoever can put a pickle into the broker can run code in the workers. It is Celery's default, so it is
# needed only where the application accepts more and should not; its own messages of another kind are then deleted.
# task_serializer = "json"
# result_serializer = "json"
# accept_content = ["json"]

# For long tasks: a worker keeps one task in reserve for each it can run, not four (Celery's default), which would wait
# behind its long ones while another worker is idle. Short tasks are slower so. (Trap's own application says this.)
# worker_prefetch_multiplier = 1

# Acknowledged early (Celery's default), the tasks that a worker runs are lost if it is killed: out of memory, power
# cut. With these three lines they run again, elsewhere; so use them only if a task may run twice without harm. The
# third is for RabbitMQ only: without it a lost connection makes every running task run twice; on Redis it would hold
# them back for an hour.
# task_acks_late = True
# task_reject_on_worker_lost = True
# worker_cancel_long_running_tasks_on_connection_loss = True

# Tasks of more than 30 minutes: RabbitMQ closes the channel of a worker that holds a message for longer than its
# consumer_timeout (30 minutes by default) without acknowledging it, and one in reserve behind a long task is such a
# message, early or late. Raise consumer_timeout in /etc/rabbitmq/rabbitmq.conf.
