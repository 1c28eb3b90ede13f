"""Every option of `celery worker`, and of `celery` before it: where it goes under trapd, or why it has no place.

docs/worker_options.md is made from this table; a key of [pools.NAME] that is one of these is refused with its remedy.
Read from ``--help`` of Celery 5.5.3 and 5.7.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One option. Exactly one of ``key`` (of trapd.toml), ``setting`` (of Celery) and ``why`` says where it goes;
    ``why``, a full sentence's end after "it", may also add to the others."""

    names: str  # as `--help` writes them, the long one first
    key: str = ""  # "prefetch_multiplier" of [pools.NAME], or "app.app"
    setting: str = ""
    why: str = ""
    since: str = ""  # the first Celery that has it, if that is not 5.5

    @property
    def place(self) -> str:
        """For people: where to write it, or why nowhere."""
        table, _, name = self.key.rpartition(".")
        if self.key:
            place = f"`{name}` in `[{table or 'pools.NAME'}]`"
        elif self.setting:
            place = f"the Celery setting `{self.setting}`"
        else:
            return self.why
        return f"{place}; {self.why}" if self.why else place


_GLOBAL = (
    Option("--app, -A", key="app.app"),
    Option("--broker, -b", setting="broker_url"),
    Option("--result-backend", setting="result_backend"),
    Option("--config", key="app.celeryconfig"),
    Option("--loader", why="part of the application: `Celery(loader=...)`"),
    Option(
        "--workdir",
        why='under systemd `WorkingDirectory = "..."` in `[pools.NAME.systemd]`; `trapctl check` names the folder',
    ),
    Option("--no-color, -C", setting="worker_log_color"),
    Option("--quiet, -q", why="always so: trapd logs a line of its own when a worker starts"),
    Option("--skip-checks", why='`environment = {SKIP_CHECKS = "1"}` in `[pools.NAME]` (Django)'),
    Option("--version", why="`trapctl check` reports it"),
)
_WORKER = (
    Option("--concurrency, -c", key="concurrency"),
    Option("--pool, -P", key="celery_pool"),
    Option("--queues, -Q", key="queues"),
    Option("--exclude-queues, -X", key="exclude_queues"),
    Option("--prefetch-multiplier", key="prefetch_multiplier"),
    Option("--optimization, -O", key="optimization"),
    Option("--time-limit", key="time_limit"),
    Option("--soft-time-limit", key="soft_time_limit"),
    Option("--max-tasks-per-child", key="max_tasks_per_child"),
    Option("--max-memory-per-child", key="max_memory_per_child"),
    Option("--loglevel, -l", key="loglevel"),
    Option("--statedb, -S", key="statedb"),
    Option("--disable-prefetch", setting="worker_disable_prefetch", since="5.6"),
    Option("--task-events, -E, --events", setting="worker_send_task_events"),
    Option("--include, -I", setting="include"),
    Option("--schedule-filename, -s, --schedule", setting="beat_schedule_filename", why="for a pool of beat"),
    Option("--scheduler", setting="beat_scheduler", why="for a pool of beat"),
    Option(
        "--beat, -B", why='a pool of its own with `run = "beat"`: in each of several workers it would send every task'
    ),
    Option("--hostname, -n", why="the node is POOL-GENERATION-SLOT@host, so that old and new can run side by side"),
    Option("--autoscale", why="nothing: `concurrency` is fixed; `trapctl scale` changes the number of workers"),
    Option(
        "--pool-start-method",
        why="always `fork`: other children would import what is installed, not the generation",
        since="5.7",
    ),
    Option("--purge, --discard", why="`trapctl celery purge`, once; at each start of a worker it would lose work"),
    Option("--without-gossip", why="always so"),
    Option("--without-mingle", why="always so: trapd hands revokes over itself, without a second's wait at each start"),
    Option("--without-heartbeat", why="nothing: workers send their heartbeat events"),
    Option("--heartbeat-interval", why="nothing: heartbeat events go out every 2 s"),
    Option("--logfile, -f", why="`trapctl logs`: the journal under systemd, else `logs` in the state_directory"),
    Option("--detach, -D", why="nothing: trapd or systemd is the parent"),
    Option("--pidfile", why="nothing: `trapctl status --json` has the process ids"),
    Option("--uid", why="under systemd workers run as trapd-worker, else as whoever runs trapd"),
    Option("--gid", why="under systemd workers run as trapd-worker, else as whoever runs trapd"),
    Option("--umask", why='under systemd `UMask = "..."` in `[pools.NAME.systemd]`, else that of trapd'),
    Option("--executable", key="app.python"),
)
GROUPS: Mapping[str, tuple[Option, ...]] = {"celery worker": _WORKER, "celery": _GLOBAL}


def find(key: str) -> Option | None:
    """The option that somebody means by a key such as ``task_events``, ``B`` or ``pool-start-method``."""
    wanted = {f"--{key.replace('_', '-')}", f"-{key}"}
    options = [one for group in GROUPS.values() for one in group]
    return next((one for one in options if wanted & set(one.names.split(", "))), None)
