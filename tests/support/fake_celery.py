"""A Celery application without a broker: its tasks are done at once, or when the test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from amqp.exceptions import AccessRefused, NotFound


class RedisError(Exception):
    """As that of the library redis: no OSError."""


class FakeResult:
    """A result that is there when the test says so, or not readable yet."""

    def __init__(self, id: str, value: object) -> None:
        self.id, self.result = id, value
        self.looks: deque[bool | Exception] = deque([True])
        self.forgotten = False

    def ready(self) -> bool:
        look = self.looks.popleft() if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def successful(self) -> bool:
        return not isinstance(self.result, Exception)

    def forget(self) -> None:
        self.forgotten = True


class FakeApp:
    """A Celery application whose tasks are done at once, with what ``answer`` makes of the path."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        self.conf = SimpleNamespace(task_always_eager=False)
        self.backend = SimpleNamespace(
            is_async=False,
            add_pending_result=lambda result: None,
            as_uri=lambda: "redis://results//",
            connection_errors=(RedisError,),
        )
        self.amqp = SimpleNamespace(queues={})
        self.answer = answer
        self.looks: deque[bool | Exception] = deque([True])  # of each result
        self.results: list[FakeResult] = []
        self.sent: list[tuple[str, tuple[str, ...], dict[str, Any]]] = []
        self.ids: list[str] = []
        self.revoked: list[str] = []
        self.control = SimpleNamespace(revoke=self.revoked.extend)

    def connection_for_write(self) -> SimpleNamespace:
        refused = (AccessRefused, NotFound)
        return SimpleNamespace(connection_errors=(), channel_errors=refused, as_uri=lambda: "amqp://guest:**@broker//")

    def signature(self, name: str, args: tuple[str, ...], kwargs: dict[str, Any]) -> Any:
        def apply_async(task_id: str | None = None) -> FakeResult:
            self.sent.append((name, args, kwargs))
            self.results.append(FakeResult(task_id or str(len(self.results)), self.answer(args[0])))
            self.results[-1].looks = deque(self.looks)
            self.ids.append(self.results[-1].id)
            return self.results[-1]

        return SimpleNamespace(apply_async=apply_async)
