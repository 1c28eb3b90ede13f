"""Settings of Celery for every worker on this machine, and for every program that submits tasks to them.

This is Celery's own kind of file: plain Python, one name for each setting, all of them described at
https://docs.celeryq.dev/en/stable/userguide/configuration.html. A setting in this file overrides the application's own;
for every other setting the application's value is in force. So this file has only the settings that belong to this
machine: where the broker and the results are, and that workers wait for them. `trapctl check` lists each setting and
where it comes from.

The old upper-case names (BROKER_URL, CELERY_RESULT_BACKEND, ...) work as well, but all names in a file must be either
old or new. A change of this file recycles the workers as a change of code does. Protect passwords: set mode 0640, and
a group that the workers and the users who submit tasks are in.
"""

# RabbitMQ on this host, with its default account, which RabbitMQ accepts from this host only.
broker_url = "amqp://guest:guest@localhost:5672//"

# A worker that starts before its broker waits for it, and a worker that loses its broker tries to connect for ever: a
# new start of the worker would not repair the broker. `trapctl status` shows both. (Without the first line, Celery 5.3
# and later warn at each start; without the second, a worker exits after 100 attempts.)
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# Results go back to the program that submitted the task, and to no other; nothing is stored.
result_backend = "rpc://"

# JSON only: a user who can put a pickle into the broker can run code in the workers. JSON only is Celery's default, so
# these lines are needed only if the application accepts other formats and should not; workers then delete messages in
# those formats.
# task_serializer = "json"
# result_serializer = "json"
# accept_content = ["json"]

# For long tasks: for each task that a worker can run, it reserves one more, not four (Celery's default). Reserved tasks
# wait behind the worker's long tasks while another worker is idle. Short tasks are slower with this setting. (Trap's
# own application has it.)
# worker_prefetch_multiplier = 1

# By default Celery acknowledges a task before it runs, so the running tasks of a worker that is killed (out of memory,
# power cut) are lost. With these three lines such tasks run again on another worker; so use the lines only if a task
# may run twice without harm. The third line is for RabbitMQ only: without it every running task runs twice after a lost
# connection; on Redis the line would delay these tasks for an hour.
# task_acks_late = True
# task_reject_on_worker_lost = True
# worker_cancel_long_running_tasks_on_connection_loss = True

# Tasks of more than 30 minutes: RabbitMQ closes the channel of a worker that holds a message for longer than
# consumer_timeout (30 minutes by default) without acknowledging it. A task that is reserved behind a long task is such
# a message, with early and with late acknowledgement. Raise consumer_timeout in /etc/rabbitmq/rabbitmq.conf.
