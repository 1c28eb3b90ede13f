"""Rule of `trapctl check` for the broker's account: who else can use it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from trapd.ctl.findings import WARNING, Facts, Finding, Rule

GUEST = "guest"  # RabbitMQ's default account, an administrator whose password everybody knows


def guest(facts: Facts) -> Iterator[Finding]:
    """Warn about the guest account while workers obey remote control.

    Tried on RabbitMQ 3.10.8: with this account, which RabbitMQ accepts from its own host, `celery control shutdown` of
    any local user ended all workers.
    """
    broker = facts.report["broker"]
    if facts.transport != "amqp" or urlsplit(str(broker["url"])).username != GUEST:
        return
    if facts.conf("worker_enable_remote_control") is False:
        return
    yield Finding(
        WARNING,
        "workers obey remote control, and use RabbitMQ's account guest",
        "the password of guest is known: every user of the broker's machine can shut down all workers (`celery control "
        "shutdown`), and read or delete all tasks",
        "make an account for the service (`rabbitmqctl add_user`, `set_permissions`), name it in broker_url of "
        f"{facts.settings.application.celeryconfig}, and run `rabbitmqctl delete_user guest`",
    )


RULES: tuple[Rule, ...] = (guest,)
