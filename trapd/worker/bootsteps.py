"""Where we hook into Celery's worker: what tells Health of phases and turns of the loop, and the inspect command."""

from __future__ import annotations

import signal
import time
from typing import Any

from celery import Celery, bootsteps, signals
from celery.bootsteps import CLOSE
from celery.worker import state
from celery.worker.control import inspect_command

from trapd.worker import admission, counting, leaving, prefetch, report, revokes, unknown
from trapd.worker.abstention import Abstention
from trapd.worker.account import Account
from trapd.worker.health import Phase, Reporter
from trapd.worker.job import Job
from trapd.worker.own_account import OwnAccount
from trapd.worker.standing import POOLS
from trapd.worker.unread import unread

POOL_EVERY = 0.02  # s between two looks whether a process of the pool has started; it takes 10 to 50 ms
STAMP_EVERY = 0.5  # s; the timer also wakes the loop, which without it notices a SIGTERM only with the next message


def counts() -> tuple[int, int]:
    """Tasks that run, and tasks that this worker holds in all."""
    return len(state.active_requests), len(state.reserved_requests)


def install(app: Celery, job: Job, reporter: Reporter, account: OwnAccount) -> None:
    """Before the worker is made."""
    account.install(reporter)

    class Connecting(bootsteps.StartStopStep):  # type: ignore[misc]
        """Of the worker: its pool has forked, its consumer comes next. Only now a thread may start."""

        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            # Celery's own handler would execute itself anew, without the options that make the snapshot its code.
            signal.signal(signal.SIGHUP, lambda number, frame: None)
            reporter.health.inline = type(worker.pool).__module__.endswith(".solo")
            reporter.health.pool_is_known = type(worker.pool).__module__.startswith(POOLS)
            reporter.health.slots = worker.pool.num_processes  # of threads and greenlets, too
            reporter.health.connected = lambda: worker.consumer is not None and worker.consumer.connection is not None
            reporter.health.unread = lambda: unread(worker.pool)
            if not type(worker.pool).__module__.endswith(
                (".gevent", ".eventlet")
            ):  # whose loops have ways of their own
                reporter.watch_sigterm()
            account.begin(worker)
            reporter.enter(Phase.CONNECTING)
            reporter.start()
            admission.wait(admission.patience(job, time.time()), lambda: account.admitted)

        def stop(self, worker: Any) -> None:
            pass

        terminate = stop

    app.steps["worker"].update({Connecting, leaving.step(account.receipt)})
    unknowns = unknown.step(job.generation, account.aside, account.poison)
    app.steps["consumer"].update({_stamping(reporter, account.abstention), unknowns, prefetch.Room})
    app.steps["consumer"].add(counting.step(account.tally, account.queues))
    app.steps["consumer"].add(revokes.step(Account(job.shared, job.instance)))
    _listen(job, reporter)
    _follow_children(job)
    answer(job)


def _stamping(reporter: Reporter, abstention: Abstention) -> type[bootsteps.StartStopStep]:
    class Stamping(bootsteps.StartStopStep):  # type: ignore[misc]
        """Of the consumer: started again with every connection, after its tasks and before its loop."""

        requires = ("celery.worker.consumer.tasks:Tasks",)
        timer: Any = None

        def start(self, consumer: Any) -> None:
            # With a hub, timers fire inside the loop. Without one the timer is a thread, which proves nothing: it
            # asks the loop to stamp, which that does once a cycle, every 2 s at most.
            self.asked = False
            reporter.main.follow_greenlet()
            self.consumer = consumer
            stamp = self._stamp if consumer.hub else lambda: self._ask(consumer)
            self.timer = consumer.timer.call_repeatedly(STAMP_EVERY, stamp)
            if not consumer.hub:
                _turn_faster(consumer.connection)
            _connected(consumer, reporter)

        def stop(self, consumer: Any) -> None:
            if self.timer is not None:
                consumer.timer.cancel(self.timer)
                self.timer = None
            away = Phase.RECONNECTING if reporter.health.was_ready else Phase.CONNECTING
            reporter.enter(Phase.DRAINING if consumer.blueprint.state == CLOSE else away)

        shutdown = stop

        def _stamp(self) -> None:
            self.asked = False
            reporter.stamp()
            if abstention.on and state.should_stop is None and state.should_terminate is None:
                abstention.turn(self.consumer)

        def _ask(self, consumer: Any) -> None:
            if not self.asked:
                self.asked = True
                consumer.call_soon(self._stamp)

    return Stamping


def _connected(consumer: Any, reporter: Reporter) -> None:
    if reporter.health.was_ready:  # the first time it is Celery that says so, once its loop turns
        reporter.enter(Phase.READY)
    elif reporter.health.held_up:  # Celery has said so, and cancels timers with the connection
        ready_with_pool(consumer, reporter)


def _turn_faster(connection: Any) -> None:
    """A loop without a hub waits 2 s in each turn; so would a SIGTERM, twice, while it goes on taking tasks."""
    wait = connection.drain_events

    def drain_events(timeout: float = STAMP_EVERY, **options: Any) -> Any:
        if state.should_stop is not None or state.should_terminate is not None:
            raise TimeoutError  # as if there were no message: the loop then looks whether it should go on
        return wait(timeout=min(timeout, STAMP_EVERY), **options)

    connection.drain_events = drain_events


def _listen(job: Job, reporter: Reporter) -> None:
    def ready(sender: Any, **_: Any) -> None:
        report.write(job, report.ready_report(job, reporter.health.slots))  # before READY: who hears that may read this
        ready_with_pool(sender, reporter)

    def draining(**_: Any) -> None:
        reporter.enter(Phase.DRAINING)

    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(draining, weak=False)


def _follow_children(job: Job) -> None:
    children = job.loaded.children
    signals.worker_before_create_process.connect(children.forking, weak=False)
    signals.task_postrun.connect(children.tell, weak=False)


def ready_with_pool(consumer: Any, reporter: Reporter) -> None:
    """Celery is ready before its processes have started, and takes tasks for them; if a handler of worker_process_init
    hangs or raises, it does so for ever. A pool of another kind, or without a hub, does not tell.
    """
    processes = getattr(getattr(consumer.pool, "_pool", None), "_fileno_to_inq", None)
    if processes is None or processes or not consumer.pool.num_processes or not consumer.hub:
        reporter.health.held_up = ""
        reporter.enter(Phase.READY)
        return
    reporter.health.held_up = "no process of its Celery pool has started yet"
    consumer.timer.call_after(POOL_EVERY, ready_with_pool, (consumer, reporter))


def answer(job: Job) -> None:
    """``celery inspect trapd_code``. Whoever asks has to know the command too."""

    @inspect_command(name="trapd_code")  # type: ignore[untyped-decorator]
    def trapd_code(state: Any) -> dict[str, Any]:
        """The code that this worker has loaded."""
        return report.code_report(job)
