"""Every option of `celery worker`, and of `celery` before it: its place under trapd, or why it has none.

docs/worker_options.md is made from this table. If a key of [pools.NAME] is such an option, the error names its place.
The options are those of ``--help`` of Celery 5.5.3 and 5.7.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One option. Its place is ``key`` (of trapd.toml) or ``setting`` (of Celery); ``why`` adds a remark to the place,
    or explains why there is none."""

    names: str  # as `--help` writes them, the long one first
    key: str = ""  # "prefetch_multiplier" of [pools.NAME], or "app.app"
    setting: str = ""
    why: str = ""
    since: str = ""  # the first Celery that has it, if that is not 5.5

    @property
    def place(self) -> str:
        """Return, for users, where to write the option, or why it has no place."""
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
    Option("--quiet, -q", why="always in force: trapd logs a line of its own when a worker starts"),
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
        "--beat, -B",
        why='a pool of its own with `run = "beat"`: a beat in each of several workers would send every task each time',
    ),
    Option("--hostname, -n", why="the node is POOL-GENERATION-SLOT@host, so that old and new can run side by side"),
    Option("--autoscale", why="none: `concurrency` is fixed; `trapctl scale` changes the number of workers"),
    Option(
        "--pool-start-method",
        why="always `fork`: other children would import the installed code, not the generation's",
        since="5.7",
    ),
    Option("--purge, --discard", why="`trapctl celery purge`, once; a purge at each start of a worker would lose work"),
    Option("--without-gossip", why="always in force"),
    Option(
        "--without-mingle",
        why="always in force: workers get revokes from their predecessors without a second's wait at each start",
    ),
    Option("--without-heartbeat", why="none: workers send their heartbeat events"),
    Option("--heartbeat-interval", why="none: workers send heartbeat events every 2 s"),
    Option("--logfile, -f", why="`trapctl logs`: the journal under systemd, else `logs` in the state_directory"),
    Option("--detach, -D", why="none: trapd or systemd is the parent"),
    Option("--pidfile", why="none: `trapctl status --json` has the process ids"),
    Option("--uid", why="none: under systemd workers run as trapd-worker, else as the user who runs trapd"),
    Option("--gid", why="none: under systemd workers run as trapd-worker, else as the group that runs trapd"),
    Option("--umask", why='under systemd `UMask = "..."` in `[pools.NAME.systemd]`, else that of trapd'),
    Option("--executable", key="app.python"),
)
GROUPS: Mapping[str, tuple[Option, ...]] = {"celery worker": _WORKER, "celery": _GLOBAL}


def find(key: str) -> Option | None:
    """Return the option that a key such as ``task_events``, ``B`` or ``pool-start-method`` stands for, or None."""
    wanted = {f"--{key.replace('_', '-')}", f"-{key}"}
    options = [option for group in GROUPS.values() for option in group]
    return next((option for option in options if wanted & set(option.names.split(", "))), None)
