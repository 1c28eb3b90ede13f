"""`trapctl tasks`"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from trapd.control import methods
from trapd.ctl import complete, options
from trapd.ctl.exits import Exit
from trapd.ctl.session import Session
from trapd.ctl.verbs import tasks_drop, tasks_end, tasks_poisoned, tasks_retry
from trapd.ctl.words import Row, Word, moment, since, versions
from trapd.durations import age
from trapd.sizes import counted

if TYPE_CHECKING:
    from trapd.control import documents
    from trapd.ctl.render import Screen

_SUBJECT = "trapd.subject"


class _WithSubject(click.Group):
    """A group with an argument of its own: a first word that names no sub-command is the subject."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        if words and words[0] not in self.commands:
            args.remove(words[0])
            ctx.meta[_SUBJECT] = words[0]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        names = complete.pools_and_workers(ctx, self.params[0], incomplete)
        return [*super().shell_complete(ctx, incomplete), *map(click.shell_completion.CompletionItem, names)]


@click.group(
    cls=_WithSubject,
    invoke_without_command=True,
    subcommand_metavar="[POOL | WORKER | end ID | poisoned | retry ID | drop ID]",
)
@options.json
@click.pass_context
def verb(context: click.Context) -> int:
    """Show the tasks that workers run, also while they drain.

    Show those of all workers, of a pool, or of a worker such as default@7-1: since when each runs, and in a draining
    worker the tasks that it waits for.
    """
    session: Session = context.obj
    if context.invoked_subcommand is None:
        session.answer(session.ask(methods.TASKS({"subject": context.meta.get(_SUBJECT)})), show)
    return Exit.OK


verb.add_command(tasks_drop.verb, "drop")
verb.add_command(tasks_end.verb, "end")
verb.add_command(tasks_poisoned.verb, "poisoned")
verb.add_command(tasks_retry.verb, "retry")


def show(screen: Screen, document: documents.Tasks, now: float | None = None) -> None:
    """Print a row for each task, the one that has run longest first."""
    now = time.time() if now is None else now
    found = [(worker, task) for worker in document["workers"] for task in worker["running"]]
    found.sort(key=lambda pair: pair[1]["since"])
    if found:
        columns = ("TASK", "ID", "RUNS FOR", "WORKER", "STATE", "CODE", "QUEUE")
        screen.table(columns, [_row(worker, task, now) for worker, task in found], lead=3)
    elif not document.get("ended"):
        screen.line("no task runs")
    for event in document.get("ended", []):
        _ended(screen, event)
    for aside in document.get("aside", []):  # a trapd from before the upgrade does not tell them
        where = f"in {aside['queue']}" if aside["queue"] else "discarded"
        known = f"no worker knows the task, for {since(aside['since'], now)}"
        if aside.get("id"):
            killed = f"it has killed its process {counted(aside['kills'], 'time')}"
            screen.line(f"set aside: task {aside['task']}[{aside['id']}], {where}: {killed}")
            continue
        screen.line(f"set aside: {counted(aside['messages'], 'message')} of task {aside['task']}, {where}: {known}")
    for worker in document["workers"]:
        if worker["unanswered"]:
            where = "its tasks are those of its task table" if worker["running"] else "its tasks are not known"
            screen.line(Word("problem"), f": {worker['worker']} does not answer ({worker['unanswered']}); {where}")


def _ended(screen: Screen, event: documents.Event) -> None:
    """Print the receipt of a worker that ended: a row for each task that it had."""
    screen.line(f"{event['instance']} at {moment(event['at'])}: {event['reason']}")
    rows = [Row([task["name"], task["id"], Word(task["became"])]) for task in event["tasks"]]
    screen.table(("TASK", "ID", "BECAME"), rows)


def _row(worker: documents.WorkerTasks, task: documents.TaskRun, now: float) -> Row:
    longest = task["longest"]
    notes = []
    if task["far"] and longest is not None:
        notes.append(f"runs far longer than its like: the longest so far took {age(longest)}")
    if worker["state"] == "draining":
        notes.append(f"{worker['worker']} waits for this task before it exits")
    cells = [
        task["name"],
        task["id"],
        since(task["since"], now),
        worker["worker"],
        Word(worker["state"]),
        versions(worker["versions"]),
        task["queue"] or "-",
    ]
    return Row(cells, notes)
