"""Threads that wait for the answers of workers, and the thread that gets them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from amqp.exceptions import AccessRefused, NotFound
from celery import Celery
from celery.exceptions import BackendError, WorkerLostError
from kombu import Queue
from kombu.exceptions import OperationalError

from tests.support.fake_celery import FakeApp, RedisError
from trapd.distribute import away, queues, submit
from trapd.distribute.endings import RunError, UnreachableError
from trapd.distribute.hub import FEW, Hub
from trapd.distribute.submit import Answer, Request


def good(path: str) -> dict[str, object]:
    return {"image": path, "error": None}


def request(path: str) -> Request:
    return Request(path, "a.task", (path, {"margin": 1}), {})


def hub(app: FakeApp, **options: Any) -> Hub:
    made = Hub(cast(Celery, app), **options)
    made.start()
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "LINGER", 0.2)
    monkeypatch.setattr(submit.Submitter.withdraw, "__defaults__", (0.2,))


def test_each_thread_gets_the_answer_to_its_own_request() -> None:
    app = FakeApp(good)
    made = hub(app)
    with ThreadPoolExecutor(4) as threads:
        answers = [*threads.map(lambda n: made.ask(request(f"/{n}")), range(20))]
    made.close()
    assert [answer.image for answer in answers] == [f"/{n}" for n in range(20)]
    assert ("a.task", ("/3", {"margin": 1}), {}) in app.sent


def test_a_killed_process_is_not_an_answer() -> None:
    outcomes: deque[object] = deque([WorkerLostError("signal 9"), good("/a")])
    made = hub(FakeApp(lambda path: outcomes.popleft()))
    answer = made.ask(request("/a"))
    made.close()
    assert (answer.error, answer.attempts) == ("", 2)


def test_the_end_of_a_run_wakes_whoever_waits_and_revokes_what_waits() -> None:
    app = FakeApp(good)
    app.looks = deque([False])
    made = hub(app)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(made.ask, request("/a"))
        while not app.sent:
            pass
        made.close(KeyboardInterrupt())
        assert isinstance(waiting.exception(10), KeyboardInterrupt)
    assert app.revoked == app.ids
    with pytest.raises(KeyboardInterrupt):
        made.ask(request("/b"))


def test_a_request_that_cannot_be_sent_wakes_those_behind_it_too() -> None:
    def refuse(path: str) -> object:
        raise AccessRefused("ACCESS_REFUSED - access to queue 'gpu' in vhost '/' refused for user 'alice'")

    made, errors = Hub(cast(Celery, FakeApp(refuse))), SimpleQueue[type[BaseException]]()

    def ask(number: int) -> None:
        with pytest.raises(RunError) as raised:
            made.ask(request(f"/{number}"))
        errors.put(raised.type)

    for number in range(3):
        Thread(target=ask, args=(number,), daemon=True).start()
    while made._inbox.qsize() < 3:  # the hub then takes them together
        pass
    made.start()
    assert [errors.get(timeout=10) for _ in range(3)] == [RunError] * 3
    made.close()


def test_workers_that_never_answer_end_the_run_and_are_no_bad_images() -> None:
    app = FakeApp(good)
    app.looks = deque([False])
    made = hub(app, patience=0.05)
    with pytest.raises(UnreachableError, match=r"no answer for 0 s, 1 image unanswered; see with `trapctl status`"):
        made.ask(request("/a"))
    made.close()
    assert len(app.sent) == submit.ATTEMPTS


def answered_then_silent(made: Hub, app: FakeApp, images: int) -> list[Answer]:
    """Ask for one image, which is answered, and then for so many to which no answer comes."""
    app.looks = deque([True])
    assert made.ask(request("/good")).error == ""
    app.looks = deque([False])
    with ThreadPoolExecutor(images) as threads:
        return [*threads.map(lambda number: made.ask(request(f"/{number}")), range(images))]


def test_one_image_that_gets_no_answer_is_given_up_and_the_run_goes_on() -> None:
    app = FakeApp(good)
    made = hub(app, patience=0.05)
    for _ in range(2):  # each time another image
        (lost,) = answered_then_silent(made, app, 1)
        assert (lost.fault, lost.attempts, lost.image) == ("machine", submit.ATTEMPTS, "/0")
        assert lost.error == "cannot process /0: it was sent 3 times and no answer came"
    made.close()


@pytest.mark.parametrize("rounds", [pytest.param(1, id="many"), pytest.param(2, id="the next ones, too")])
def test_workers_that_answer_no_more_end_the_run_and_no_good_image_is_rejected(rounds: int) -> None:
    app = FakeApp(good)
    made = hub(app, patience=0.05)
    if rounds == 2:
        answered_then_silent(made, app, FEW)
    with pytest.raises(UnreachableError, match="see with `trapctl status` whether workers are ready"):
        made.ask(request("/next")) if rounds == 2 else answered_then_silent(made, app, FEW + 1)
    made.close()


@pytest.mark.parametrize("error", [OperationalError, RedisError, ConnectionResetError, BackendError])
def test_a_broker_or_result_backend_that_goes_away_ends_the_run(error: type[Exception]) -> None:
    def gone(path: str) -> object:
        raise error("connection refused")

    made = hub(FakeApp(gone))
    words = (
        r"cannot go on: the broker amqp://guest:\*\*@broker//, or redis://results// for results, does not answer: "
        r"connection refused; see whether it runs, and type the same command again"
    )
    with pytest.raises(UnreachableError, match=words) as raised:
        made.ask(request("/a"))
    made.close()
    assert raised.value.status == 75


@pytest.mark.parametrize(
    "error",
    [
        AccessRefused("ACCESS_REFUSED - access to queue 'gpu' in vhost '/' refused for user 'alice'"),
        NotFound("NOT_FOUND - no exchange 'gpu' in vhost '/'"),
    ],
)
def test_what_a_broker_refuses_is_a_sentence(error: Exception) -> None:
    def refuse(path: str) -> object:
        raise error

    made = hub(FakeApp(refuse))
    with pytest.raises(RunError) as raised:
        made.ask(request("/a"))
    made.close()
    assert str(raised.value) == (
        f"cannot send tasks to Celery's default queue: {error}; name a queue that workers read and to which your "
        "account may send (--queue, or in your celeryconfig as docs/users.md shows)"
    )
    assert raised.value.status == 1


def test_a_queue_that_is_named_is_made_only_where_those_of_the_configuration_are() -> None:
    mine, other = Queue("mine", no_declare=True), Queue("other")
    named = {}
    for what, known in {"none": None, "made": [mine, other], "not made": [mine]}.items():
        app = Celery("submitter", set_as_current=False)
        app.conf.task_queues = known
        named[what] = queues.named(app, "gpu")
        assert queues.named(app, "mine") == "mine"
    assert (named["none"], named["made"]) == ("gpu", "gpu")
    found: Any = named["not made"]
    assert (found.name, found.exchange.name, found.routing_key) == ("gpu",) * 3
    assert found.no_declare
    assert found.exchange.no_declare


def test_a_result_backend_that_cannot_be_loaded_ends_the_run() -> None:
    class Broken(FakeApp):
        @property
        def backend(self) -> SimpleNamespace:
            raise ModuleNotFoundError("No module named 'psycopg2'")

        @backend.setter
        def backend(self, value: object) -> None: ...

    made = hub(Broken(good))
    with pytest.raises(ModuleNotFoundError):
        made.ask(request("/a"))
    made.close()
    with pytest.raises(RunError, match="cannot use result_backend: No module named 'psycopg2'; install that for /"):
        made.reach()


def test_an_error_of_a_database_is_told_by_its_reason() -> None:
    error = BackendError("failed to get meta")
    error.__cause__ = OSError("connection refused\n(Background on this error)")
    assert away.why(error) == "connection refused"
    assert away.why(OperationalError("[Errno 111]")) == "[Errno 111]"


def test_tasks_go_to_the_queue_of_the_pool() -> None:
    queues: list[str | None] = []
    app = FakeApp(good)
    signature = app.signature

    def noting(name: str, args: tuple[str, ...], kwargs: dict[str, Any]) -> Any:
        def apply_async(task_id: str | None = None, queue: str | None = None) -> Any:
            queues.append(queue)
            return signature(name, args, kwargs).apply_async(task_id)

        return SimpleNamespace(apply_async=apply_async)

    app.signature = noting  # type: ignore[method-assign]
    made = hub(app, queue_name="gpu")
    made.ask(request("/a"))
    made.close()
    assert queues == ["gpu"]
