"""RabbitMQ's quorum queues under a service of systemd: an upgrade whose submitters run ahead of it loses no message."""

from __future__ import annotations

import json
from pathlib import Path

from tests.nspawn.conftest import Boot
from tests.support.daemon import settled_on
from tests.support.installation import Installation
from tests.support.sample import good
from tests.support.service import LEDGER, PLACE, Service, at_rest, rabbitmq

LIMIT = 3  # deliveries; RabbitMQ 4 has 20. A message that is handed back has used them up within 2 s.
SEND = """
import json, sys
from celery import Celery
app = Celery("submitter")
app.config_from_object("celeryconfig")
task, options = sys.argv[1], json.loads(sys.argv[2])
print(app.send_task(f"shipyard.{task}", (0.0, sys.argv[3]), **options).id)
"""


def send(service: Service, task: str, **options: object) -> str:
    """Submit a task; its id."""
    asked = [f"{PLACE}/bin/python", "-B", "-c", SEND, task, json.dumps(options), LEDGER]
    return service.machine.run("env", "--chdir=/etc/trapd", *asked).check().strip()


def test_new_and_scheduled_tasks_wait_for_the_new_worker_and_stop_nobody(
    boot: Boot, installation: Installation, environment: Path, tmp_path: Path
) -> None:
    """With prefetch 1, as the shipped celeryconfig has it: what is held would be all that the worker may have."""
    service = Service(
        boot,
        installation=installation,
        environment=environment,
        broker=rabbitmq(),
        tables={"pools.default": {"workers": 1, "concurrency": 1}},
        seed=tmp_path / "seed",
        task_default_queue_type="quorum",
    )
    machine, queue = service.machine, service.broker.queue
    machine.systemctl("start", "rabbitmq-server")
    policy = json.dumps({"delivery-limit": LIMIT})
    machine.run("rabbitmqctl", "--quiet", "set_policy", "limit", ".*", policy, "--apply-to", "queues").check()
    machine.systemctl("start", "trapd")
    service.wait_until("a worker on 1.0", lambda status: at_rest(status) and settled_on("1.0", 1)(status))

    later = send(service, "nap", countdown=45)  # longer than an upgrade takes on a slow machine
    new = [send(service, "fresh") for _ in range(2)]
    service.wait_for("end", service.nap(*[0.0] * 10))
    jobs = good("2.0")["shipyard/jobs.py"]
    service.next_version()
    files = {
        **good("2.0"),
        "shipyard/jobs.py": f"{jobs}\n\napp.task(bind=True, name='shipyard.fresh')(nap.run.__func__)\n",
    }
    service.install("2.0", files)
    ends = service.wait_for("end", [*new, later])
    assert [one.version for one in ends] == ["2.0"] * 3
    started = [one.id for one in service.ledger() if one.event == "start"]
    assert len(started) == len(set(started)) == 13
    waiting = machine.run("rabbitmqctl", "--quiet", "list_queues", "name", "messages").check()
    assert dict(line.split() for line in waiting.splitlines()[1:])[f"{queue}.trapd-parked"] == "0"
