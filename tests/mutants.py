"""Each promise with what keeps it, taken out: does a test notice? ``make mutants`` tries all of them, by hand; it takes
an hour. ``python -m tests.mutants [WORD ...]`` tries those whose promise has one of the words in it.

tests/unit/test_mutants.py sees to it that the list keeps fitting the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old`` stands in ``file`` once; ``tests``, below tests/, as pytest takes them, notice if it is ``new``."""

    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_PLAN = "trapd/rollout/plan.py"
_STORIES, _WALKS, _PROPERTIES = (
    "simulation/test_stories.py",
    "simulation/test_random_walks.py",
    "unit/rollout/test_plan_properties.py",
)
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
_STOP_WAITS = f"{_SERVICE}::test_a_stop_waits_for_the_longest_task_and_says_so_meanwhile"
_RESTART = f"{_SERVICE}::test_a_restart_leaves_the_workers_to_the_next_trapd"

MUTANTS = (
    # --- the rollout ---
    Mutant(
        "never fewer ready than the floor: a drain waits for enough others",
        _PLAN,
        "if self.serving <= self.budget.floor:",
        "if False:",
        (_PROPERTIES, _STORIES),
    ),
    Mutant(
        "never more alive than the ceiling: draining ones count",
        _PLAN,
        "sum(i.state is not InstanceState.FAILED for i in world.instances)",
        "sum(i.state.value in ('starting', 'ready') for i in world.instances)",
        (_PROPERTIES,),
    ),
    Mutant(
        "a canary has to stay ready before it is trusted",
        "trapd/rollout/truth.py",
        "instance.ready_at if instance.ready_at is not None else instance.since) + min_ready",
        "instance.ready_at if instance.ready_at is not None else instance.since) + 0",
        (_STORIES,),
    ),
    Mutant(
        "a broken upgrade: the canary's failure is the code's if the good generation starts",
        "trapd/rollout/verdict.py",
        "if failed is not None and failed.failure is not None and blame(world, failed) is Blame.CODE:",
        "if False and failed is not None and failed.failure is not None:",
        (_STORIES,),
    ),
    Mutant(
        "trouble that passes convicts nobody: the canary is tried once more",
        "trapd/rollout/blame.py",
        "return Blame.CODE if hung or rollout is None else Blame.DOUBT",
        "return Blame.CODE",
        (_STORIES,),
    ),
    Mutant(
        "one upgrade is one recycle: the same code again is none",
        "trapd/rollout/intent.py",
        "if situation.is_installed(state.wanted):",
        "if False:",
        (_STORIES,),
    ),
    Mutant(
        "what was rejected is not tried again by itself",
        "trapd/rollout/intent.py",
        'if refused := _refused(situation, "what is installed", situation.installed):',
        "if refused := None:",
        (_STORIES,),
    ),
    Mutant(
        "status never says current of what is not: a worker without a report",
        "trapd/rollout/truth.py",
        'return "unknown"',
        'return "current"',
        ("unit/rollout",),
    ),
    Mutant(
        "status never says current of what is not: modules from elsewhere",
        "trapd/rollout/truth.py",
        'return "mixed"',
        'return "current"',
        ("unit/rollout",),
    ),
    Mutant(
        "settings that come while other code is wanted are rolled when that is over",
        "trapd/rollout/plan.py",
        "return replace(planned, actions=(*planned.actions, Renew(wanted, world.other_settings)))",
        "return planned",
        (_STORIES,),
    ),
    Mutant(
        "a trigger that means nothing says so, in the log once",
        "trapd/triggers.py",
        "if mark not in logged:",
        "if True:",
        (_STORIES,),
    ),
    Mutant(
        "a refusal reaches as far as its scope: another application may be tried",
        "trapd/rollout/refusals.py",
        "return refusal.subject == tried.application",
        "return True",
        (_STORIES,),
    ),
    Mutant(
        "a refusal reaches as far as its scope: other settings may be tried",
        "trapd/rollout/refusals.py",
        "return refusal.subject == tried.launch",
        "return True",
        (_STORIES,),
    ),
    Mutant(
        "a reload rolls only what changed",
        "trapd/rollout/intent.py",
        """    if before.installed == situation.installed:
        return Nothing(Cause.SAME, "the settings that its workers have fixed in them are as before")
    return _renewed(situation)
""",
        """    return CopyOf(situation.wanted.number, SETTINGS) if situation.wanted else _unsettled(situation)
""",
        (_STORIES, "unit"),
    ),
    # --- the disk ---
    Mutant(
        "pip is not atomic: half of an upgrade never settles",
        "trapd/watch/quiet.py",
        "quiet = self._last is None or (undisturbed and self._last + self._quiet_period <= began)",
        "quiet = True",
        ("unit/watch", "process/test_watch_pip.py"),
    ),
    Mutant(
        "a copy is of what was looked at: what changed under it is no snapshot",
        "trapd/generations/snapshot.py",
        "copy_file(source, _place(folder, file.path), file.digest, group=only)",
        'copy_file(source, _place(folder, file.path), "", group=only)',
        ("contract/test_snapshots.py", "unit/generations"),
    ),
    Mutant(
        "a snapshot is there whole or not at all",
        "trapd/generations/snapshot.py",
        'folder, final = self.directory / f"{_MAKING}{number}", self.directory / str(number)',
        "folder, final = self.directory / str(number), self.directory / str(number)",
        ("contract/test_snapshots.py", "process/test_snapshot_sigkill.py"),
    ),
    # --- the worker ---
    Mutant(
        "the snapshot wins, whatever happens to what is installed",
        "trapd/generations/snapshot.py",
        "import_path=[*code, manifest.RUNTIME],",
        "import_path=[manifest.RUNTIME],",
        ("process/test_snapshot_imports.py",),
    ),
    Mutant(
        "a project finds its settings and data beside itself",
        "trapd/generations/snapshot.py",
        "            mirror.link_neighbours(folder, disk.roots)\n",
        "",
        ("process/test_project_folder.py",),
    ),
    Mutant(
        "what a project's module imports from beside itself is held still",
        "trapd/watch/distributions.py",
        "for more in () if site.installed else modules(site):",
        "for more in ():",
        ("process/test_project_folder.py", "unit/watch/test_distributions.py"),
    ),
    Mutant(
        "an application keeps its own settings under the system-wide ones",
        "trapd/worker/overlay.py",
        "        app.conf.finalize()\n",
        "        app.config_from_object(dict(self.settings), force=True)\n",
        ("unit/worker/test_application.py", "process/test_application_settings.py"),
    ),
    Mutant(
        "the system-wide settings stay on top of what a task module assigns",
        "trapd/worker/application.py",
        "    overlay.renew(app)\n",
        "",
        ("unit/worker/test_application.py",),
    ),
    Mutant(
        "gevent and eventlet are patched in first of all",
        "trapd/worker/green.py",
        "    if pool in POOLS:\n",
        "    if False:\n",
        ("process/test_worker_settings.py", "process/test_worker_tasks.py"),
    ),
    Mutant(
        "what a start-up file imported is imported again from the snapshot",
        "trapd/worker/imports.py",
        "        del sys.modules[name]\n",
        "        pass\n",
        ("process/test_worker_code.py",),
    ),
    Mutant(
        "nobody writes into a generation, root neither",
        "trapd/worker/entry.py",
        "    seal(job.generation)\n",
        "",
        ("process/test_project_folder.py",),
    ),
    Mutant(
        "a snapshot with somebody else's file is not deleted",
        "trapd/generations/snapshot.py",
        "if self._kept.take(snapshot):",
        "if False:",
        ("unit/generations/test_kept.py",),
    ),
    Mutant(
        "no undo to what cannot start any more",
        "trapd/triggers.py",
        "(flaw := await known.snapshots.flaw(what.generation))",
        '(flaw := "")',
        (_STORIES,),
    ),
    Mutant(
        "a namespace's part elsewhere is no stray",
        "trapd/worker/imports.py",
        "if isinstance(file, str) and not file.startswith(inside) and (holds(code, name) or own.has(name, file)):",
        "if isinstance(file, str) and not file.startswith(inside):",
        ("process/test_namespaces.py",),
    ),
    Mutant(
        "a finder keeps another distribution's part of a namespace",
        "trapd/worker/imports.py",
        "return _among(name, names) and (holds(code, name) or not is_shared(code, name))",
        "return _among(name, names)",
        ("process/test_namespaces.py",),
    ),
    Mutant(
        "of a declared namespace only what is recorded is copied",
        "trapd/watch/distributions.py",
        "own = {folder for folder in own if not is_namespace(site.path / folder)}",
        "",
        ("process/test_namespaces.py",),
    ),
    Mutant(
        "a new task that reaches an old worker waits for a new one",
        "trapd/worker/bootsteps.py",
        'app.steps["consumer"].update({_stamping(reporter), unknown.step(job.generation), prefetch.Room})',
        'app.steps["consumer"].update({_stamping(reporter)})',
        ("process/test_worker_tasks.py",),
    ),
    Mutant(
        "what was revoked stays revoked after a recycle or a crash",
        "trapd/worker/bootsteps.py",
        '    app.steps["consumer"].add(revokes.step(Account(job.shared, job.instance)))\n',
        "",
        ("process/test_worker_revokes.py",),
    ),
    Mutant(
        "a task that a process has as the drain begins is not given back as well",
        "trapd/worker/leaving.py",
        "        receive_acceptances(pool._pool, worker.hub)\n",
        "",
        ("process/test_worker_tasks.py",),
    ),
    Mutant(
        "what is only reserved does not wait for the end of a drain",
        "trapd/worker/leaving.py",
        "self._back += [request.message for request in held - {*state.active_requests}]",
        "",
        ("process/test_worker_tasks.py",),
    ),
    Mutant(
        "a scheduled task takes no slot of a quorum queue's reader",
        "trapd/worker/prefetch.py",
        "consumer.qos.callback = Renewal(consumer).to",
        "pass",
        ("process/test_worker_prefetch.py",),
    ),
    Mutant(
        "a task that a worker does not know is parked, not handed back",
        "trapd/worker/unknown.py",
        "not (self._park(message) or self._hand_back(message))",
        "not self._hand_back(message)",
        ("process/test_worker_parking.py",),
    ),
    Mutant(
        "a message is acknowledged when the broker has confirmed that its copy is parked",
        "trapd/worker/parking.py",
        '"confirm_publish": True',
        '"confirm_publish": False',
        ("process/test_worker_parking.py::test_where_nothing_can_be_parked_it_is_handed_back",),
    ),
    Mutant(
        "a look that failed holds no message",
        "trapd/worker/parking.py",
        'raw.collect() if hasattr(raw, "collect") else connection.collect()',
        "pass",
        ("process/test_worker_parking.py::test_what_a_look_held_when_it_failed_is_there_again_at_once",),
    ),
    Mutant(
        "a return that a quorum queue would count is made by a copy",
        "trapd/worker/returns.py",
        "and not _renewed(message, lot, consumer)",
        "",
        ("process/test_worker_prefetch.py",),
    ),
    Mutant(
        "what ends a worker from within is told in its own words",
        "trapd/worker/running.py",
        "        ending.watch(self.worker, self._ends)\n",
        "",
        ("process/test_worker_taken_back.py",),
    ),
    Mutant(
        "whom its broker has ended is not blamed",
        "trapd/rollout/blame.py",
        "is InstanceState.FAILED and not ended_by_broker",
        "is InstanceState.FAILED",
        ("unit/rollout/test_plan.py",),
    ),
    Mutant(
        "what RabbitMQ took back is a problem in status",
        "trapd/control/incidents.py",
        "*_taken_back(context, view), ",
        "",
        ("unit/control/test_incidents.py",),
    ),
    Mutant(
        "a start that has its connection has a deadline, and is not said to have no broker",
        "trapd/worker/health.py",
        "self.phase is Phase.READY or self.connected() else BROKER",
        "self.phase is Phase.READY else BROKER",
        ("unit/worker/test_health.py", "process/test_worker_cut_off.py"),
    ),
    Mutant(
        "a message of many lines is kept whole",
        "trapd/backend/words.py",
        "        begin = min(begin, traceback)\n",
        "        pass\n",
        ("unit/backend/test_embedded.py",),
    ),
    Mutant(
        "remote commands that reached a worker stand in its report",
        "trapd/worker/running.py",
        "        remote.listen()\n",
        "",
        ("process/test_worker_taken_back.py",),
    ),
    Mutant(
        "what people read and tools leave is no code",
        "trapd/watch/tree.py",
        "counted=not is_no_code(name)",
        "counted=True",
        ("unit/watch/test_distributions.py",),
    ),
    Mutant(
        "Celery's settings speak where trapd.toml is silent",
        "trapd/worker/running.py",
        "or (None if self.app.conf.worker_concurrency else DEFAULT_CONCURRENCY)",
        "or DEFAULT_CONCURRENCY",
        ("process/test_worker_settings.py",),
    ),
    Mutant(
        "what a task starts does not see the snapshot",
        "trapd/worker/launch.py",
        "    if start.is_file():",
        "    if False:",
        ("unit/worker/test_launch.py", "process/test_worker_code.py"),
    ),
    Mutant(
        "a whole message that cannot be read just now stays in the queue",
        "trapd/worker/file_broker.py",
        "    with suppress(ValueError):\n",
        "    with suppress(OSError, ValueError):\n",
        ("unit/worker/test_file_broker.py",),
    ),
    Mutant(
        "a hung main loop is no sign of life",
        "trapd/worker/health.py",
        "and not stalled and self._well > self._pinged and now",
        "and now",
        ("unit/worker", "process/test_worker_health.py"),
    ),
    Mutant(
        "who comes late to a deadline judges nobody",
        "trapd/backend/embedded/deadlines.py",
        "if late > STANDSTILL:",
        "if False:",
        ("contract/test_backend.py", "system/test_standing_still.py"),
    ),
    Mutant(
        "time in which trapd stood still is no lack of progress",
        "trapd/controller.py",
        "self.states = {name: want.progressed(state, now) for name, state in self.states.items()}",
        "pass",
        (_STORIES,),
    ),
    Mutant(
        "whose words may not have been heard, trapd having stood still, is not called silent",
        "trapd/backend/embedded/deadlines.py",
        "        self.awake_since = self._loop.time()\n",
        "",
        ("contract/test_backend.py",),
    ),
    Mutant(
        "a drain has its stop time, not the watchdog's",
        "trapd/backend/embedded/backend.py",
        "                self._deadlines.give(run, self._stop_time)\n",
        "                self._deadlines.give(run, self._watchdog)\n",
        ("contract/test_backend.py",),
    ),
    Mutant(
        "signs of life are told with the worker",
        "trapd/backend/embedded/run.py",
        "self.deadline, self.alive_at = now + self.allowed, at",
        "self.deadline = now + self.allowed",
        ("contract/test_backend.py",),
    ),
    Mutant(
        "process 1 reaps whom tasks leave behind",
        "trapd/first_process.py",
        "    if os.getpid() != 1:\n        return None\n",
        "    return None\n",
        ("process/test_first_process.py",),
    ),
    Mutant(
        "a drain that gives no sign of life is ended",
        "trapd/backend/embedded/backend.py",
        "            if state is InstanceState.DRAINING and run.process:",
        "            if False:",
        ("contract/test_backend.py",),
    ),
    Mutant(
        "a canary is promoted only if its loop was seen to turn",
        "trapd/rollout/truth.py",
        "and (instance.alive_at or 0.0) >= at",
        "",
        (_STORIES,),
    ),
    Mutant(
        "hangs after the promotion count against the new code",
        "trapd/rollout/verdict.py",
        "doubt = _in_doubt(world, target)",
        "doubt = None",
        (_STORIES,),
    ),
    Mutant(
        "a canary that nothing proves ends by the deadline",
        "trapd/rollout/verdict.py",
        "return _on_canary(world, target, now) or _overdue(world, target, now)",
        "return _on_canary(world, target, now)",
        (_STORIES,),
    ),
    Mutant(
        "a drain lasts as long as its tasks",
        "trapd/worker/health.py",
        "return DRAIN_BY if self._busy_at >= now else 0.0",
        "return 0.0",
        ("unit/worker", _STOP_WAITS),
    ),
    Mutant(
        "no password is shown",
        "trapd/masking.py",
        'return _PARAMETER.sub(_masked_parameter, "".join(_masked_url(part) for part in _BETWEEN.split(text)))',
        "return text",
        ("unit/test_masking.py", "unit/test_daemon.py"),
    ),
    # --- logs and status ---
    Mutant(
        "every line of a traceback has the priority of its record",
        "trapd/worker/lines.py",
        'return "\\n".join(f"<{PRIORITY[level]}>{line}" for line in text.split("\\n"))',
        'return f"<{PRIORITY[level]}>{text}"',
        ("unit/worker/test_log_format.py", "nspawn/test_logs.py"),
    ),
    Mutant(
        "the number of running tasks is at most a second old",
        "trapd/worker/health.py",
        "bool(place), (self.strays, self.remote), active",
        "bool(place), (self.strays, self.remote), 0",
        ("unit/worker/test_health.py", "process/test_worker_tasks.py"),
    ),
    Mutant(
        "a worker that had nothing to start says why in status",
        "trapd/backend/embedded/backend.py",
        "with_reason(summary, detail) if exit_status == REFUSED else summary",
        "summary",
        ("process/test_embedded_backend.py",),
    ),
    # --- life as a service ---
    Mutant(
        "stop drains the workers: trapd sees to it, and waits",
        "trapd/daemon.py",
        'return await self.systemd.own_job() != "stop" or await self.systemd.shuts_down()',
        "return True",
        (_STOP_WAITS,),
    ),
    Mutant(
        "stop takes as long as the tasks: systemd is asked for more time",
        "trapd/daemon.py",
        'self._notify(f"EXTEND_TIMEOUT_USEC={DRAIN_SIGN * 3e6:.0f}")',
        "pass",
        (_STOP_WAITS,),
    ),
    Mutant(
        "stop drains the workers though trapd is dead or hangs",
        _DAEMON_UNIT,
        "ExecStopPost=-+/bin/sh @libdir@/trapd-stop\n",
        "",
        (f"{_SERVICE}::test_a_stop_stops_the_workers_even_if_trapd_cannot_do_it",),
    ),
    Mutant(
        "while the machine goes down no worker is started: trapd learns of it before the first one leaves",
        "trapd/backend/systemd/pid1.py",
        "                self._on_shutdown()",
        "                pass",
        (
            f"{_LIFE}::test_a_boot_comes_up_on_the_last_good_code_though_the_disk_is_broken_and_even_if_trapd_cannot_start",
        ),
    ),
    Mutant(
        "restart leaves the workers: trapd asks what is done to it",
        "trapd/daemon.py",
        'return await self.systemd.own_job() != "stop" or await self.systemd.shuts_down()',
        "return False",
        (_RESTART,),
    ),
    Mutant(
        "restart leaves the workers: so does what runs after it",
        "systemd/trapd-stop",
        "systemctl list-jobs --no-legend | grep -q ' trapd\\.service  *stop ' || exit 0\n",
        "",
        (_RESTART, f"{_SERVICE}::test_the_death_of_trapd_touches_no_worker"),
    ),
    Mutant(
        "death of trapd: its workers are bound to nothing",
        _TEMPLATE,
        "Wants=network-online.target trapd-shutdown.service\n",
        "Wants=network-online.target trapd-shutdown.service\nBindsTo=trapd.service\nAfter=trapd.service\n",
        _NOTHING_TOUCHES,
    ),
    Mutant(
        "death of trapd: a hung one is found",
        _DAEMON_UNIT,
        "WatchdogSec=30\n",
        "",
        (_UNITS,),
    ),
    Mutant(
        "death of trapd: it comes back",
        _DAEMON_UNIT,
        "Restart=always\n",
        "",
        (f"{_SERVICE}::test_the_death_of_trapd_touches_no_worker",),
    ),
    Mutant(
        "death of trapd: the next one adopts what runs",
        "trapd/backend/systemd/backend.py",
        "ids = await self._pid1.units()",
        "ids: list[InstanceId] = []",
        (f"{_BACKEND}::test_what_runs_is_adopted_with_its_times_and_its_report",),
    ),
    Mutant(
        "a lost bus: what happened meanwhile is found by a listing",
        "trapd/backend/systemd/pid1.py",
        "            self._on_gap(True)\n",
        "",
        (f"{_BACKEND}::test_when_the_bus_dies_it_connects_again_and_the_workers_do_not_notice",),
    ),
    Mutant(
        "a drain asks the main process alone",
        _TEMPLATE,
        "KillMode=mixed\n",
        "KillMode=control-group\n",
        (_STOP_WAITS, f"{_UNITS}::test_a_drain_may_last_longer_than_the_stop_timeout"),
    ),
    Mutant(
        "boot: the last good workers start without trapd",
        "trapd/rollout/boot.py",
        "good = next((number for number in reversed(state.good) if number in usable), None)",
        "good = None",
        (
            f"{_LIFE}::test_a_boot_comes_up_on_the_last_good_code_though_the_disk_is_broken_and_even_if_trapd_cannot_start",
        ),
    ),
    Mutant(
        "boot: the list of the last good workers is obeyed",
        _DAEMON_UNIT,
        "Wants=dbus.socket polkit.service trapd-boot.service\n",
        "Wants=dbus.socket polkit.service\n",
        (f"{_UNITS}::test_boot_starts_the_listed_workers_even_if_trapd_cannot_start",),
    ),
    Mutant(
        "boot: with a broken trapd.toml the last good units stay",
        "systemd/system-generators/trapd-generator",
        'elif [ -d "$kept" ] && cp -r "$kept/." "$1/"; then',
        'elif [ -d "$kept" ] && false; then',
        (f"{_UNITS}::test_a_machine_boots_with_a_broken_trapd_toml_and_its_last_good_units",),
    ),
    Mutant(
        "shutdown drains within a bound",
        "systemd/trapd-shutdown",
        'timeout "$TRAPD_SHUTDOWN_TIMEOUT" systemctl stop "$workers" && exit 0\n',
        'systemctl stop "$workers" && exit 0\n',
        (f"{_UNITS}::test_a_shutdown_waits_for_the_workers_but_not_for_ever",),
    ),
    Mutant(
        "shutdown waits for the workers",
        "systemd/trapd-shutdown",
        'timeout "$TRAPD_SHUTDOWN_TIMEOUT" systemctl stop "$workers" && exit 0\n',
        "",
        (f"{_UNITS}::test_a_shutdown_waits_for_the_workers_but_not_for_ever",),
    ),
    Mutant(
        "a worker that crashed is started again without trapd",
        _TEMPLATE,
        "Restart=on-failure\n",
        "",
        (f"{_UNITS}::test_a_worker_that_crashed_is_started_again_without_trapd",),
    ),
    Mutant(
        "a worker that systemd starts again loads its own generation",
        "trapd/generations/snapshot.py",
        "import_path=[*code, manifest.RUNTIME],",
        "import_path=[manifest.RUNTIME],",
        (f"{_SERVICE}::test_a_worker_that_systemd_starts_again_has_its_generations_code_whatever_is_on_the_disk",),
    ),
    Mutant(
        "a reload rolls only what changed, as a service",
        "trapd/rollout/intent.py",
        """    if before.installed == situation.installed:
        return Nothing(Cause.SAME, "the settings that its workers have fixed in them are as before")
    return _renewed(situation)
""",
        """    return CopyOf(situation.wanted.number, SETTINGS) if situation.wanted else _unsettled(situation)
""",
        (f"{_SERVICE}::test_a_reload_rolls_the_pool_whose_settings_changed_and_no_other",),
    ),
    Mutant(
        "trapd may manage its own units only",
        "systemd/polkit-1/rules.d/50-trapd.rules",
        "/^trapd-worker-[a-z][a-z0-9_]*@[0-9]+-[0-9]+\\.service$/.test(unit)",
        "/^trapd-worker/.test(unit)",
        ("nspawn/test_rights.py",),
    ),
    Mutant(
        "workers cannot reach the system bus",
        _TEMPLATE,
        "InaccessiblePaths=-/run/dbus\n",
        "",
        ("nspawn/test_rights.py",),
    ),
)


@cache
def pass_as_it_is(tests: tuple[str, ...]) -> None:
    """Raises RuntimeError if they do not: then a failure with a mutant would say nothing."""
    said = failure(tests, lambda root: None)
    if said:
        raise RuntimeError(f"{' '.join(tests)} fail without any mutant:\n{said[-3000:]}")


def noticed(mutant: Mutant) -> bool:
    def take_out(root: Path) -> None:
        path = root / mutant.file
        path.write_text(path.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")

    pass_as_it_is(mutant.tests)
    return failure(mutant.tests, take_out) != ""


def failure(tests: tuple[str, ...], change: Callable[[Path], None]) -> str:
    """What pytest says of the tests on a changed copy of the tree; nothing if they pass."""
    with tempfile.TemporaryDirectory(prefix="trapd-mutant-") as name:
        root = Path(name)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for file in filter(None, listed.split("\0")):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, root / file)
        change(root)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-o", f"cache_dir={ROOT}/.pytest_cache"]
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
        caught = noticed(mutant)
        survivors += not caught
        print(f"{'noticed' if caught else 'SURVIVED':8}  {mutant.promise}  ({mutant.file})", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
