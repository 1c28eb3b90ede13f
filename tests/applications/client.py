"""What sends an application its work, as its own programs do: on its interpreter, in its folder, through its own app.

Run as a script with one JSON document. ``observe`` sends calls one after the other, and asks the workers what they read
and by which settings; ``load`` sends one call again and again until its standard input ends, then collects the answers.
The last line on standard output is JSON. Needs nothing but Celery.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from typing import Any

from celery import Celery
from celery.app.utils import find_app

PATIENCE = 15.0  # s for an answer


def observe(app: Celery, workers: int, calls: list[list[Any]]) -> dict[str, Any]:
    """Answers, and by node name what each worker says of its queues, settings and tasks."""
    answers = [_answer(app.send_task(task, arguments, **options)) for task, arguments, options in calls]
    return {
        "answers": answers,
        "queues": _ask(app, workers, "active_queues"),
        "settings": _ask(app, workers, "conf", with_defaults=True),
        "tasks": _ask(app, workers, "registered"),
        "stats": _ask(app, workers, "stats"),
    }


def load(app: Celery, task: str, arguments: list[Any], every: float) -> list[list[Any]]:
    """Triples of id, time on the monotonic clock when it was sent, and answer."""
    ended = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    sent = []
    while not ended.wait(every):
        sent.append((time.monotonic(), app.send_task(task, arguments)))
    return [[result.id, at, _answer(result)] for at, result in sent]


def _answer(result: Any) -> Any:
    try:
        return result.get(timeout=PATIENCE)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _ask(app: Celery, workers: int, question: str, **arguments: object) -> dict[str, Any]:
    """Until so many have answered: on Redis a worker listens only a moment after it is ready."""
    deadline = time.monotonic() + PATIENCE
    answers: dict[str, Any] = {}
    while len(answers) < workers and time.monotonic() < deadline:
        inspect = app.control.inspect(timeout=2, limit=workers)
        answers |= getattr(inspect, question)(**arguments) or {}
    return answers


def main() -> None:
    order = json.loads(sys.argv[1])
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as `celery -A` and manage.py do
    app = find_app(order.pop("app"))
    answer = (observe if order.pop("what") == "observe" else load)(app, **order)
    app.close()
    gc.collect()
    print("\n" + json.dumps(answer, default=sorted), flush=True)
    os._exit(0)  # Celery's clients may keep threads


if __name__ == "__main__":
    main()
