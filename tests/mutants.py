"""Each promise with what keeps it, taken out: does a test notice? ``make mutants`` tries all of them, by hand; it takes
an hour. ``python -m tests.mutants [WORD ...]`` tries those whose promise has one of the words in it.

A mutant names a function and a word that the function uses, not the text of a line: neither another layout nor other
local names break it. tests/unit/test_mutants.py sees to it that the list keeps fitting the code.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[1]
_T = TypeVar("_T")
_CONDITION, _LINE = "condition", "line"


@dataclass(frozen=True, slots=True)
class Change:
    """``new`` replaces the innermost node of this kind that uses ``word``: the name of a function, an attribute or a
    global, or a whole string. A kind is a class of the grammar, a condition, or a line of a file that has no functions.

    In ``new``, ``$it`` is the text that is replaced, and ``$0``, ``$1`` ... are the expressions that it consists of.
    """

    kind: type[ast.AST] | str
    word: str
    new: str


def drop(word: str) -> Change:
    return Change(ast.stmt, word, "pass")


def never(word: str) -> Change:
    return Change(_CONDITION, word, "False")


def always(word: str) -> Change:
    return Change(_CONDITION, word, "True")


def line(word: str, new: str = "") -> Change:
    return Change(_LINE, word, new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """``where``: "module:function", or a file that has no functions. ``tests``: below tests/, as pytest takes them."""

    promise: str
    where: str
    change: Change
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        module, colon, _ = self.where.partition(":")
        return ROOT / (f"{module.replace('.', '/')}.py" if colon else module)

    def function(self, module: ast.Module) -> ast.AST:
        node: ast.AST = module
        for name in self.where.partition(":")[2].split("."):
            node = self._only([part for part in getattr(node, "body", ()) if getattr(part, "name", "") == name], name)
        return node

    def applied(self, text: str) -> str:
        """The text of the file with the change. Raises ValueError if its place is not there, or not the only one."""
        word, new = self.change.word, self.change.new
        if self.change.kind == _LINE:
            found = self._only([row for row in text.splitlines() if word in row], word).strip()
            return text.replace(found, new.replace("$it", found))
        node = self._only(list(_places(self.function(ast.parse(text)), self.change)), word)
        parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        new = re.sub(r"\$(\d)", lambda match: ast.unparse(parts[int(match[1])]), new)
        new = new.replace("$it", ast.unparse(node))
        begin = _offset(text, node.lineno, node.col_offset)
        end = _offset(text, node.end_lineno or 0, node.end_col_offset or 0)
        return text[:begin] + (f"({new})" if isinstance(node, ast.expr) else new) + text[end:]

    def _only(self, places: list[_T], what: str) -> _T:
        if len(places) != 1:
            raise ValueError(f"cannot change {self.where}: {what!r} is there {len(places)} times; name another word")
        return places[0]


def _places(function: ast.AST, change: Change) -> Iterator[ast.expr | ast.stmt]:
    nodes = list(ast.walk(function))
    if change.kind == _CONDITION:
        tests = [[getattr(node, "test", None), *getattr(node, "ifs", ())] for node in nodes]
        nodes = [test for some in tests for test in some if test is not None]
    fitting = [
        node
        for node in nodes
        if isinstance(node, ast.expr | ast.stmt)
        and (isinstance(change.kind, str) or isinstance(node, change.kind))
        and any(
            change.word in (getattr(part, "id", 0), getattr(part, "attr", 0), getattr(part, "value", 0))
            for part in ast.walk(node)
        )
    ]
    for node in fitting:
        if not any(other in fitting for other in ast.walk(node) if other is not node):
            yield node


def _offset(text: str, number: int, column: int) -> int:
    """In characters, where the grammar counts bytes of a line."""
    before = text.split("\n")[:number]
    return sum(len(row) + 1 for row in before[:-1]) + len(before[-1].encode()[:column].decode())


_STORIES, _PROPERTIES = "simulation/test_stories.py", "unit/rollout/test_plan_properties.py"
_SERVICE, _UNITS, _LIFE, _BACKEND = (
    "nspawn/test_service.py",
    "nspawn/test_units.py",
    "nspawn/test_life.py",
    "nspawn/test_backend_systemd.py",
)
_TEMPLATE, _DAEMON_UNIT = "systemd/trapd-worker@.service.in", "systemd/trapd.service"
_NOTHING_TOUCHES = (
    f"{_UNITS}::test_whatever_happens_to_trapd_its_workers_are_not_touched",
    f"{_SERVICE}::test_the_death_of_trapd_touches_no_worker",
)
_KEEPS_UNITS = (f"{_UNITS}::test_a_reload_of_trapd_keeps_the_units_for_the_next_boot_and_a_daemon_reload_until_then",)
_STOP_WAITS = f"{_SERVICE}::test_a_stop_waits_for_the_longest_task_and_says_so_meanwhile"
_RESTART = f"{_SERVICE}::test_a_restart_leaves_the_workers_to_the_next_trapd"

MUTANTS = (
    # --- the rollout ---
    Mutant(
        "never fewer ready than the floor: a drain waits for enough others",
        "trapd.rollout.draft:Draft.drain_spare",
        never("floor"),
        (_PROPERTIES, _STORIES),
    ),
    Mutant(
        "never more alive than the ceiling: draining ones count",
        "trapd.rollout.draft:Draft.__init__",
        Change(ast.Compare, "FAILED", "$0 not in (InstanceState.FAILED, InstanceState.DRAINING)"),
        (_PROPERTIES,),
    ),
    Mutant(
        "no worker beyond the wanted number without memory for it",
        "trapd.rollout.draft:Draft.room",
        Change(ast.IfExp, "_memory", "$1"),
        (_PROPERTIES, "simulation/test_drains.py"),
    ),
    Mutant(
        "memory that a worker which starts has yet to take is not free",
        "trapd.rollout.room:Room.of",
        Change(ast.Call, "sum", "0"),
        ("unit/rollout/test_room.py",),
    ),
    Mutant(
        "no second beat while the old one drains, whatever max_draining says",
        "trapd.rollout.budget:_draining",
        never("singleton"),
        ("unit/rollout",),
    ),
    Mutant(
        "a new worker that failed before frees no old one until it is healthy",
        "trapd.rollout.world:World.taking_over",
        Change(ast.BoolOp, "failures", "True"),
        ("unit/rollout",),
    ),
    Mutant(
        "a canary has to stay ready before it is trusted",
        "trapd.rollout.truth:healthy_at",
        Change(ast.BinOp, "ready_at", "$0"),
        (_STORIES,),
    ),
    Mutant(
        "a broken upgrade: the canary's failure is the code's if the good generation starts",
        "trapd.rollout.verdict:_on_canary",
        never("blame"),
        (_STORIES,),
    ),
    Mutant(
        "a void password: code and celeryconfig that nobody can judge together are taken apart",
        "trapd.rollout.plan:plan",
        Change(ast.Call, "due", "None"),
        ("unit/rollout/test_halves.py",),
    ),
    Mutant(
        "what could not be judged has to live longer than a loop of crashes the next time",
        "trapd.rollout.world:World._doubtful",
        Change(ast.BoolOp, "whole", "False"),
        ("unit/rollout/test_halves.py",),
    ),
    Mutant(
        "trouble that passes convicts nobody: the canary is tried once more",
        "trapd.rollout.blame:blame",
        Change(ast.BoolOp, "TIMEOUT", "True"),
        (_STORIES,),
    ),
    Mutant(
        "one upgrade is one recycle: the same code again is none",
        "trapd.rollout.intent:_after_disk",
        drop("SAME"),
        (_STORIES,),
    ),
    Mutant(
        "what was rejected is not tried again by itself",
        "trapd.rollout.intent:_after_disk",
        Change(ast.Call, "_refused", "None"),
        (_STORIES,),
    ),
    Mutant(
        "status never says current of what is not: a worker without a report",
        "trapd.rollout.truth:code_state",
        Change(ast.Constant, "unknown", "'current'"),
        ("unit/rollout",),
    ),
    Mutant(
        "status never says current of what is not: modules from elsewhere",
        "trapd.rollout.truth:code_state",
        Change(ast.Constant, "mixed", "'current'"),
        ("unit/rollout",),
    ),
    Mutant(
        "settings that come while other code is wanted are rolled when that is over",
        "trapd.rollout.plan:plan",
        Change(ast.Call, "_renewal", "None"),
        (_STORIES,),
    ),
    Mutant(
        "a trigger that means nothing says so, in the log once",
        "trapd.triggers:Triggers._receive",
        drop("add"),
        (_STORIES,),
    ),
    Mutant(
        "a refusal reaches as far as its scope: another application may be tried",
        "trapd.rollout.refusals:covers",
        Change(ast.Compare, "application", "True"),
        (_STORIES,),
    ),
    Mutant(
        "a refusal reaches as far as its scope: other settings may be tried",
        "trapd.rollout.refusals:covers",
        Change(ast.Compare, "launch", "True"),
        (_STORIES,),
    ),
    Mutant(
        "a reload rolls only what changed",
        "trapd.rollout.intent:after_reload",
        Change(
            ast.If,
            "SAME",
            "return CopyOf(situation.wanted.number, SETTINGS) if situation.wanted else unsettled(situation)",
        ),
        (_STORIES, "unit"),
    ),
    # --- the disk ---
    Mutant(
        "pip is not atomic: half of an upgrade never settles",
        "trapd.watch.quiet:Quiet.looked",
        Change(ast.BoolOp, "_quiet_at", "True"),
        ("unit/watch", "process/test_watch_pip.py"),
    ),
    Mutant(
        "the quiet period runs from the end of an installer: one that follows is seen before it writes",
        "trapd.watch.quiet:Quiet.hurry",
        drop("_left"),
        ("unit/watch/test_quiet.py",),
    ),
    Mutant(
        "a copy is of what was looked at: what changed under it is no snapshot",
        "trapd.generations.copying:copy_file",
        drop("SnapshotError"),
        ("contract/test_snapshots.py", "unit/generations"),
    ),
    Mutant(
        "a file gets its place in the store when its bytes are on the disk",
        "trapd.generations.filling:Filling.keep",
        drop("sync_file_system"),
        ("unit/generations/test_store.py",),
    ),
    Mutant(
        "a damaged generation is not copied on",
        "trapd.generations.snapshot:SnapshotStore.copy",
        Change(ast.Await, "_compare", "False"),
        ("contract/test_snapshots.py",),
    ),
    Mutant(
        "a generation is compared with what was copied when a start on it fails",
        "trapd.tending:Tending.run",
        never("_newly_failed"),
        ("unit/test_tending.py",),
    ),
    Mutant(
        "a worker starts although nothing can be printed any more",
        "trapd.worker.entry:main",
        drop("forgive"),
        ("process/test_full_disk.py",),
    ),
    Mutant(
        "no generation fills the disk for everybody else",
        "trapd.generations.filling:Filling.add",
        drop("check"),
        ("unit/generations/test_store.py",),
    ),
    Mutant(
        "a file of the store that lost its content spoils no later generation",
        "trapd.generations.store:Store.give",
        never("st_size"),
        ("unit/generations/test_store.py",),
    ),
    Mutant(
        "a snapshot is there whole or not at all",
        "trapd.generations.maker:Maker._building",
        Change(ast.JoinedStr, "MAKING", "f'$1'"),
        ("contract/test_snapshots.py", "process/test_snapshot_sigkill.py"),
    ),
    # --- the worker ---
    Mutant(
        "the snapshot wins, whatever happens to what is installed",
        "trapd.generations.maker:Maker.make",
        Change(ast.List, "RUNTIME", "[manifest.RUNTIME]"),
        ("process/test_snapshot_imports.py",),
    ),
    Mutant(
        "a project finds its settings and data beside itself",
        "trapd.generations.maker:Maker._fill",
        drop("link_neighbours"),
        ("process/test_project_folder.py",),
    ),
    Mutant(
        "what a project's module imports from beside itself is held still",
        "trapd.watch.distributions:_plain",
        always("installed"),
        ("process/test_project_folder.py", "unit/watch/test_distributions.py"),
    ),
    Mutant(
        "an application keeps its own settings under the system-wide ones",
        "trapd.worker.overlay:Overlay.put_on",
        Change(ast.Expr, "finalize", "app.config_from_object(dict(self.settings), force=True)"),
        ("unit/worker/test_application.py", "process/test_application_settings.py"),
    ),
    Mutant(
        "the system-wide settings stay on top of what a task module assigns",
        "trapd.worker.application:complete",
        drop("renew"),
        ("unit/worker/test_application.py",),
    ),
    Mutant(
        "gevent and eventlet are patched in first of all",
        "trapd.worker.green:patch",
        never("POOLS"),
        ("process/test_worker_settings.py", "process/test_worker_tasks.py"),
    ),
    Mutant(
        "what a start-up file imported is imported again from the snapshot",
        "trapd.worker.imports:forget",
        drop("modules"),
        ("process/test_worker_code.py",),
    ),
    Mutant(
        "nobody writes into a generation, root neither",
        "trapd.worker.entry:main",
        drop("seal"),
        ("process/test_project_folder.py",),
    ),
    Mutant(
        "a snapshot with somebody else's file is not deleted",
        "trapd.generations.maker:Maker.remove",
        never("take"),
        ("unit/generations/test_kept.py",),
    ),
    Mutant(
        "no undo to what cannot start any more",
        "trapd.triggers:Triggers.undo",
        Change(ast.Await, "snapshots", "''"),
        (_STORIES,),
    ),
    Mutant(
        "a namespace's part elsewhere is no stray",
        "trapd.worker.imports:strays",
        Change(ast.BoolOp, "holds", "True"),
        ("process/test_namespaces.py",),
    ),
    Mutant(
        "a finder keeps another distribution's part of a namespace",
        "trapd.worker.imports:blind_finders.is_ours",
        Change(ast.BoolOp, "holds", "True"),
        ("process/test_namespaces.py",),
    ),
    Mutant(
        "of a declared namespace only what is recorded is copied",
        "trapd.watch.record_file:Layout.tops",
        always("is_namespace"),
        ("process/test_namespaces.py",),
    ),
    Mutant(
        "a new task that reaches an old worker waits for a new one",
        "trapd.worker.bootsteps:install",
        Change(ast.Set, "Room", "{$0}"),
        ("process/test_worker_tasks.py",),
    ),
    Mutant(
        "what was revoked stays revoked after a recycle or a crash",
        "trapd.worker.bootsteps:install",
        drop("revokes"),
        ("process/test_worker_revokes.py",),
    ),
    Mutant(
        "a task that a process has as the drain begins is not given back as well",
        "trapd.worker.leaving:_unbegun",
        drop("receive_acceptances"),
        ("process/test_worker_tasks.py",),
    ),
    Mutant(
        "what is only reserved does not wait for the end of a drain",
        "trapd.worker.leaving:Leaving._begin",
        drop("active_requests"),
        ("process/test_worker_tasks.py",),
    ),
    Mutant(
        "a scheduled task takes no slot of a quorum queue's reader",
        "trapd.worker.prefetch:Room.start",
        drop("Renewal"),
        ("process/test_worker_prefetch.py",),
    ),
    Mutant(
        "a task that a worker does not know is parked, not handed back",
        "trapd.worker.unknown:Unknown.__call__",
        Change(ast.Call, "_park", "False"),
        ("process/test_worker_parking.py",),
    ),
    Mutant(
        "a message is acknowledged when the broker has confirmed that its copy is parked",
        "trapd.worker.parking:Parking._open",
        Change(ast.Dict, "confirm_publish", "{**$it, 'confirm_publish': False}"),
        ("process/test_worker_parking.py::test_where_nothing_can_be_parked_it_is_handed_back",),
    ),
    Mutant(
        "a look that failed holds no message",
        "trapd.worker.parking:Parking.close",
        drop("collect"),
        ("process/test_worker_parking.py::test_what_a_look_held_when_it_failed_is_there_again_at_once",),
    ),
    Mutant(
        "a return that a quorum queue would count is made by a copy",
        "trapd.worker.returns:give_back",
        Change(ast.Call, "_renewed", "False"),
        ("process/test_worker_prefetch.py",),
    ),
    Mutant(
        "what ends a worker from within is told in its own words",
        "trapd.worker.running:Running.__init__",
        drop("watch"),
        ("process/test_worker_taken_back.py",),
    ),
    Mutant(
        "whom its broker has ended is not blamed",
        "trapd.rollout.blame:_at_fault",
        Change(ast.BoolOp, "FAILED", "$0"),
        ("unit/rollout/test_plan.py",),
    ),
    Mutant(
        "what RabbitMQ took back is a problem in status",
        "trapd.control.incidents:problems",
        Change(ast.Call, "_taken_back", "()"),
        ("unit/control/test_incidents.py",),
    ),
    Mutant(
        "a start that has its connection has a deadline, and is not said to have no broker",
        "trapd.worker.health:Health._judge",
        Change(ast.Call, "connected", "False"),
        ("unit/worker/test_health.py", "process/test_worker_cut_off.py"),
    ),
    Mutant(
        "a message of many lines is kept whole",
        "trapd.backend.words:last_words",
        drop("min"),
        ("unit/backend/test_embedded.py",),
    ),
    Mutant(
        "remote commands that reached a worker stand in its report",
        "trapd.worker.running:Running.__init__",
        drop("listen"),
        ("process/test_worker_taken_back.py",),
    ),
    Mutant(
        "what people read and tools leave is no code",
        "trapd.watch.tree:_list",
        Change(ast.Call, "is_no_code", "False"),
        ("unit/watch/test_distributions.py",),
    ),
    Mutant(
        "Celery's settings speak where trapd.toml is silent",
        "trapd.worker.running:Running.__init__",
        never("worker_concurrency"),
        ("process/test_worker_settings.py",),
    ),
    Mutant(
        "what a task starts does not see the snapshot",
        "trapd.worker.launch:command",
        never("is_file"),
        ("unit/worker/test_launch.py", "process/test_worker_code.py"),
    ),
    Mutant(
        "a whole message that cannot be read just now stays in the queue",
        "trapd.worker.file_broker:_read",
        Change(ast.Call, "suppress", "suppress(OSError, ValueError)"),
        ("unit/worker/test_file_broker.py",),
    ),
    Mutant(
        "a hung main loop is no sign of life",
        "trapd.worker.health:Health.message",
        Change(ast.BoolOp, "_pinged", "$0 and $3"),
        ("unit/worker", "process/test_worker_health.py"),
    ),
    Mutant(
        "who comes late to a deadline judges nobody",
        "trapd.backend.embedded.deadlines:Deadlines._due",
        never("STANDSTILL"),
        ("contract/test_backend.py", "system/test_standing_still.py"),
    ),
    Mutant(
        "time in which trapd stood still is no lack of progress",
        "trapd.controller:Controller.stood_still",
        drop("progressed"),
        (_STORIES,),
    ),
    Mutant(
        "whose words may not have been heard, trapd having stood still, is not called silent",
        "trapd.backend.embedded.deadlines:Deadlines._stood_still",
        drop("awake_since"),
        ("contract/test_backend.py",),
    ),
    Mutant(
        "a drain has its stop time, not the watchdog's",
        "trapd.backend.embedded.backend:EmbeddedBackend._enter",
        Change(ast.Attribute, "_stop_time", "self._watchdog"),
        ("contract/test_backend.py",),
    ),
    Mutant(
        "signs of life are told with the worker",
        "trapd.backend.embedded.run:Run.receive",
        Change(ast.Attribute, "alive_at", "_"),
        ("contract/test_backend.py",),
    ),
    Mutant(
        "process 1 reaps whom tasks leave behind",
        "trapd.first_process:go_on_in_a_child",
        always("getpid"),
        ("process/test_first_process.py",),
    ),
    Mutant(
        "a drain that gives no sign of life is ended",
        "trapd.backend.embedded.backend:EmbeddedBackend._enter",
        never("DRAINING"),
        ("contract/test_backend.py",),
    ),
    Mutant(
        "a canary is promoted only if its loop was seen to turn",
        "trapd.rollout.truth:available",
        Change(ast.Compare, "alive_at", "True"),
        (_STORIES,),
    ),
    Mutant(
        "hangs after the promotion count against the new code",
        "trapd.rollout.verdict:verdict",
        Change(ast.Call, "_in_doubt", "None"),
        (_STORIES,),
    ),
    Mutant(
        "a canary that nothing proves ends by the deadline",
        "trapd.rollout.verdict:verdict",
        Change(ast.Call, "_overdue", "None"),
        (_STORIES,),
    ),
    Mutant(
        "a drain lasts as long as its tasks",
        "trapd.worker.health:Health._deserves",
        Change(ast.IfExp, "DRAIN_BY", "0.0"),
        ("unit/worker", _STOP_WAITS),
    ),
    Mutant(
        "no password is shown",
        "trapd.masking:mask",
        Change(ast.Return, "_masked_url", "return text"),
        ("unit/test_masking.py", "unit/test_daemon.py"),
    ),
    # --- logs and status ---
    Mutant(
        "every line of a traceback has the priority of its record",
        "trapd.worker.lines:marked",
        Change(ast.Call, "split", "$0('\\0')"),
        ("unit/worker/test_log_format.py", "nspawn/test_logs.py"),
    ),
    Mutant(
        "the number of running tasks is at most a second old",
        "trapd.worker.health:Health.message",
        Change(ast.Tuple, "_away", "$0, $1, $2, $3, $4, 0"),
        ("unit/worker/test_health.py", "process/test_worker_tasks.py"),
    ),
    Mutant(
        "a worker that had nothing to start says why in status",
        "trapd.backend.embedded.backend:EmbeddedBackend._conclude",
        never("REFUSED"),
        ("process/test_embedded_backend.py",),
    ),
    # --- life as a service ---
    Mutant(
        "stop drains the workers: trapd sees to it, and waits",
        "trapd.daemon:Daemon._leaves_workers",
        Change(ast.BoolOp, "own_job", "True"),
        (_STOP_WAITS,),
    ),
    Mutant(
        "stop takes as long as the tasks: systemd is asked for more time",
        "trapd.daemon:Daemon._drain",
        drop("EXTEND_TIMEOUT_USEC="),
        (_STOP_WAITS,),
    ),
    Mutant(
        "stop drains the workers though trapd is dead or hangs",
        _DAEMON_UNIT,
        line("ExecStopPost="),
        (f"{_SERVICE}::test_a_stop_stops_the_workers_even_if_trapd_cannot_do_it",),
    ),
    Mutant(
        "while the machine goes down no worker is started: trapd learns of it before the first one leaves",
        "trapd.backend.systemd.pid1:Pid1._receive",
        drop("_on_shutdown"),
        (
            f"{_LIFE}::test_a_boot_comes_up_on_the_last_good_environment_though_a_library_is_gone_and_even_if_trapd_cannot_start",
        ),
    ),
    Mutant(
        "restart leaves the workers: trapd asks what is done to it",
        "trapd.daemon:Daemon._leaves_workers",
        Change(ast.BoolOp, "own_job", "False"),
        (_RESTART,),
    ),
    Mutant(
        "restart leaves the workers: so does what runs after it",
        "systemd/trapd-stop",
        line("systemctl list-jobs"),
        (_RESTART, f"{_SERVICE}::test_the_death_of_trapd_touches_no_worker"),
    ),
    Mutant(
        "death of trapd: its workers are bound to nothing",
        _TEMPLATE,
        line("Wants=", "$it\nBindsTo=trapd.service\nAfter=trapd.service"),
        _NOTHING_TOUCHES,
    ),
    Mutant("death of trapd: a hung one is found", _DAEMON_UNIT, line("WatchdogSec="), (_UNITS,)),
    Mutant(
        "death of trapd: it comes back",
        _DAEMON_UNIT,
        line("Restart="),
        (f"{_SERVICE}::test_the_death_of_trapd_touches_no_worker",),
    ),
    Mutant(
        "death of trapd: the next one adopts what runs",
        "trapd.backend.systemd.backend:SystemdBackend._list",
        Change(ast.Await, "units", "[]"),
        (f"{_BACKEND}::test_what_runs_is_adopted_with_its_times_and_its_report",),
    ),
    Mutant(
        "a lost bus: what happened meanwhile is found by a listing",
        "trapd.backend.systemd.pid1:Pid1._keep",
        drop("_on_gap"),
        (f"{_BACKEND}::test_when_the_bus_dies_it_connects_again_and_the_workers_do_not_notice",),
    ),
    Mutant(
        "a drain asks the main process alone",
        _TEMPLATE,
        line("KillMode=", "KillMode=control-group"),
        (_STOP_WAITS, f"{_UNITS}::test_a_drain_may_last_longer_than_the_stop_timeout"),
    ),
    Mutant(
        "boot: the last good workers start without trapd",
        "trapd.rollout.boot:at_boot",
        Change(ast.Call, "next", "None"),
        (
            f"{_LIFE}::test_a_boot_comes_up_on_the_last_good_environment_though_a_library_is_gone_and_even_if_trapd_cannot_start",
        ),
    ),
    Mutant(
        "boot: the list of the last good workers is obeyed",
        _DAEMON_UNIT,
        line("trapd-boot.service", "Wants=dbus.socket polkit.service"),
        (f"{_UNITS}::test_boot_starts_the_listed_workers_even_if_trapd_cannot_start",),
    ),
    Mutant(
        "boot: with a broken trapd.toml the last good units stay",
        "systemd/system-generators/trapd-generator",
        line('elif [ -d "$kept" ]', "elif false; then"),
        (f"{_UNITS}::test_a_machine_boots_with_a_broken_trapd_toml_and_its_last_good_units",),
    ),
    Mutant(
        "reload: the last good units are kept for the next boot, on systemd 257 too",
        _DAEMON_UNIT,
        line("ExecReload=-+@generator@"),
        _KEEPS_UNITS,
    ),
    Mutant(
        "daemon-reload: the last good units are kept until the next boot, on systemd 257 too",
        "systemd/system-generators/trapd-generator",
        line('[ -d "$now" ]'),
        _KEEPS_UNITS,
    ),
    Mutant(
        "history: workers of before a container's start are lost",
        "trapd.rollout.recording:Recording.events",
        Change(ast.Attribute, "_booted", "0.0"),
        (
            f"{_LIFE}::test_a_boot_comes_up_on_the_last_good_environment_though_a_library_is_gone_and_even_if_trapd_cannot_start",
        ),
    ),
    Mutant(
        "shutdown drains within a bound",
        "systemd/trapd-shutdown",
        line('systemctl stop "$workers"', 'systemctl stop "$workers" && exit 0'),
        (f"{_UNITS}::test_a_shutdown_waits_for_the_workers_but_not_for_ever",),
    ),
    Mutant(
        "shutdown waits for the workers",
        "systemd/trapd-shutdown",
        line('systemctl stop "$workers"'),
        (f"{_UNITS}::test_a_shutdown_waits_for_the_workers_but_not_for_ever",),
    ),
    Mutant(
        "a worker that crashed is started again without trapd",
        _TEMPLATE,
        line("Restart="),
        (f"{_UNITS}::test_a_worker_that_crashed_is_started_again_without_trapd",),
    ),
    Mutant(
        "a worker that systemd starts again loads its own generation",
        "trapd.generations.maker:Maker.make",
        Change(ast.List, "RUNTIME", "[manifest.RUNTIME]"),
        (f"{_SERVICE}::test_a_worker_that_systemd_starts_again_has_its_generations_code_whatever_is_on_the_disk",),
    ),
    Mutant(
        "trapd has stopped when it is told that the last worker has gone",
        "trapd.controller:Controller.stop",
        Change(ast.Call, "any", "False"),
        ("unit/test_controller.py",),
    ),
    Mutant(
        "what beat has sent is in its file after each task, whatever kind of dbm that is",
        "trapd.worker.beating:saving",
        never("isinstance"),
        ("unit/worker/test_saving.py",),
    ),
    Mutant(
        "a reload rolls only what changed, as a service",
        "trapd.rollout.intent:after_reload",
        Change(
            ast.If,
            "SAME",
            "return CopyOf(situation.wanted.number, SETTINGS) if situation.wanted else unsettled(situation)",
        ),
        (f"{_SERVICE}::test_a_reload_rolls_the_pool_whose_settings_changed_and_no_other",),
    ),
    Mutant(
        "trapd may manage its own units only",
        "systemd/polkit-1/rules.d/50-trapd.rules",
        line("/^trapd-worker-", "/^trapd-worker/.test(unit))"),
        ("nspawn/test_rights.py",),
    ),
    Mutant("workers cannot reach the system bus", _TEMPLATE, line("InaccessiblePaths="), ("nspawn/test_rights.py",)),
)


@cache
def pass_as_it_is(tests: tuple[str, ...]) -> None:
    """Raises RuntimeError if they do not: then a failure with a mutant would say nothing."""
    output = failure(tests, lambda root: None)
    if output:
        raise RuntimeError(f"{' '.join(tests)} fail without any mutant:\n{output[-3000:]}")


def noticed(mutant: Mutant) -> str:
    """The test that fails with the mutant; empty if none does."""

    def take_out(root: Path) -> None:
        path = root / mutant.path.relative_to(ROOT)
        path.write_text(mutant.applied(path.read_text("utf-8")), "utf-8")

    pass_as_it_is(mutant.tests)
    output = failure(mutant.tests, take_out)
    failed = re.search(r"^(?:FAILED|ERROR) (tests/.*?)(?: - .*)?$", output, re.MULTILINE)
    return failed[1] if failed else output[-300:]


def failure(tests: tuple[str, ...], change: Callable[[Path], None]) -> str:
    """The output of pytest for the tests on a changed copy of the tree; empty if they pass."""
    with tempfile.TemporaryDirectory(prefix="trapd-mutant-") as name:
        root = Path(name)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for file in filter(None, listed.split("\0")):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, root / file)
        change(root)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-o", f"cache_dir={ROOT}/.pytest_cache"]
        command += ["--ignore=tests/unit/test_mutants.py"]  # which fails with every mutant
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": name},
            capture_output=True,
            text=True,
        )
    return done.stdout + done.stderr if done.returncode else ""


def main(words: list[str]) -> int:
    """Exit status: how many were not noticed, at most 1."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.promise for word in words)]
    survivors = 0
    for mutant in chosen:
        test = noticed(mutant)
        survivors += not test
        print(f"{'noticed' if test else 'SURVIVED':8}  {mutant.promise}  ({mutant.where})  {test}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
