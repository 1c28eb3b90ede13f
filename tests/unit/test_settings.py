"""The configuration file: what it may say, and how it is refused."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapd.errors import SettingsError
from trapd.event import EventKind
from trapd.settings import Settings, WatchSettings, find, load, resolve_backend
from trapd.settings.document import Document
from trapd.settings.keys import KEYS
from trapd.spec import Amount, Application, Metrics, Notify, OnFailure, Policy, PoolSpec

SHIPPED = Path(__file__).parents[2] / "etc" / "trapd.toml"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "trapd.toml"
        file.write_text(text)
        file.chmod(0o644)
        return file

    return write


def refusal(file: Path) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    return caught.value


def test_an_empty_file_means_one_default_pool_for_trap(write: Write) -> None:
    file = write("")
    assert load(file) == Settings(
        file=file,
        backend="auto",
        state_directory=Path("/var/lib/trapd"),
        runtime_directory=Path("/run/trapd"),
        application=Application("trapd.distribute.app:app", "/etc/trapd/celeryconfig.py", sys.executable, None),
        watch=WatchSettings(("trap", "radio-pyse"), 2.0, 120.0, "auto"),
        pools=(PoolSpec("default"),),
        watchdog=60.0,
    )


def test_the_kinds_that_are_told_without_a_setting_exist() -> None:
    assert set(Notify().on) <= set(EventKind)


def test_every_key_can_be_set(write: Write, tmp_path: Path) -> None:
    file = write("""
        [trapd]
        backend = "embedded"
        state_directory = "state"
        runtime_directory = "/run/other"
        watchdog = "1min30s"
        [app]
        app = "pipeline.celery:app"
        celeryconfig = "../celeryconfig.py"
        python = "/opt/trap/bin/python"
        smoke_test = "pipeline.checks:smoke"
        [watch]
        distributions = ["trap", "numba"]
        quiet_period = "500ms"
        ceiling = "3s"
        snapshot = "environment"
        [rollout]
        max_surge = "25%"
        max_unavailable = 1
        max_draining = "50%"
        min_ready = "0s"
        progress_deadline = "1h30min"
        drain_timeout = "2h"
        on_failure = "hold"
        [metrics]
        textfile = "trapd.prom"
        every = "1min"
        [notify]
        command = ["/usr/bin/logger", "-t", "trapd"]
        unit = "mail"
        on = ["rejected", "problem"]
        problem_after = "5min"
        timeout = "10s"
        [pools.gpu]
        workers = 4
        concurrency = 2
        queues = ["gpu", "slow"]
        celery_pool = "threads"
        max_tasks_per_child = 10
        environment = {CUDA = "0"}
        prefetch_multiplier = 0
        time_limit = "1h"
        soft_time_limit = "55min"
        max_memory_per_child = 400000
        max_memory = "512M"
        max_age = "1d"
        poison_after = 0
        loglevel = "DEBUG"
        optimization = "fair"
        exclude_queues = ["slow"]
        statedb = "%n.state"
        environment_file = "gpu.env"
        rollout = {drain_timeout = "none", max_surge = 2, max_draining = "auto"}
        [pools.gpu.systemd]
        MemoryMax = "8G"
        Nice = 5
        PrivateTmp = true
        [pools.one]
        singleton = true
        [pools.beat]
        run = "beat"
        environment = {TZ = "UTC"}
    """)
    rollout = Policy(Amount(25, percent=True), Amount(1), Amount(50, percent=True), 0.0, 5400.0, 7200.0, OnFailure.HOLD)
    gpu = Policy(Amount(2), Amount(1), None, 0.0, 5400.0, None, OnFailure.HOLD)
    more: dict[str, Any] = {"loglevel": "DEBUG", "optimization": "fair", "exclude_queues": ("slow",)}
    more |= {"prefetch_multiplier": 0, "time_limit": 3600.0, "soft_time_limit": 3300.0, "max_memory_per_child": 400000}
    more |= {"max_memory": 512 << 20, "max_age": 86400.0, "poison_after": 0}
    more |= {"statedb": "%n.state", "environment_file": str(tmp_path / "gpu.env")}
    unit: dict[str, str | int | bool] = {"MemoryMax": "8G", "Nice": 5, "PrivateTmp": True}
    assert load(file) == Settings(
        file=file,
        backend="embedded",
        state_directory=tmp_path / "state",
        runtime_directory=Path("/run/other"),
        application=Application(
            "pipeline.celery:app",
            str(tmp_path / "../celeryconfig.py"),
            "/opt/trap/bin/python",
            "pipeline.checks:smoke",
        ),
        watch=WatchSettings(("trap", "numba"), 0.5, 3.0, "environment"),
        metrics=Metrics(str(tmp_path / "trapd.prom"), 60.0),
        notify=Notify(("/usr/bin/logger", "-t", "trapd"), "mail", ("rejected", "problem"), 300.0, 10.0),
        pools=(
            PoolSpec("gpu", 4, 2, ("gpu", "slow"), "threads", 10, {"CUDA": "0"}, False, unit, gpu, **more),
            PoolSpec("one", singleton=True, policy=rollout),
            PoolSpec("beat", environment={"TZ": "UTC"}, singleton=True, policy=rollout, run="beat"),
        ),
        watchdog=90.0,
    )
    assert load(file).pools[0].policy.on_failure is OnFailure.HOLD  # not only a string equal to it


@pytest.mark.parametrize("app", ["proj", "proj.celery", "proj:app", "proj.celery:app", "proj.celery.app"])
def test_an_application_is_named_as_celery_names_it(write: Write, app: str) -> None:
    assert load(write(f'[app]\napp = "{app}"\n')).application.app == app


def test_the_option_wins_over_the_environment_and_that_over_the_default() -> None:
    assert find("/a.toml", {"TRAPD_CONFIG": "/b.toml"}) == Path("/a.toml")
    assert find(None, {"TRAPD_CONFIG": "/b.toml"}) == Path("/b.toml")
    assert find(None, {}) == Path("/etc/trapd/trapd.toml")
    assert find("here.toml", {}) == Path.cwd() / "here.toml"


def test_auto_means_systemd_where_it_is_the_init_system(write: Write, tmp_path: Path) -> None:
    auto, embedded = load(write("")), load(write('trapd.backend = "embedded"'))
    assert resolve_backend(auto, booted=tmp_path) == "systemd"
    assert resolve_backend(auto, booted=tmp_path / "absent") == "embedded"
    assert resolve_backend(embedded, booted=tmp_path) == "embedded"


REFUSED = {
    "unknown table, near another": ("[pool.gpu]\n", "pool", 1, 'did you mean "pools"?'),
    "unknown key, near another": ("[pools.gpu]\n\nworker = 2\n", "pools.gpu.worker", 3, 'did you mean "workers"?'),
    "unknown key, like none": (
        "[watch]\nzzz = 2\n",
        "watch.zzz",
        2,
        "has: distributions, snapshot, quiet_period, ceiling",
    ),
    "key of another table": ("workers = 3\n", "workers", 1, "write it in [pools.NAME]"),
    "rollout key beside its table": ("[pools.a]\nmax_surge = 2", "pools.a.max_surge", 2, "in [pools.a.rollout]"),
    "unknown key in a pool's rollout": (
        "[pools.a.rollout]\nmax_serge = 2",
        "pools.a.rollout.max_serge",
        2,
        'did you mean "max_surge"?',
    ),
    "text for a number": ('[pools.gpu]\nworkers = "2"\n', "pools.gpu.workers", 2, "write a whole number, 0 or more"),
    "true for a number": ("[pools.gpu]\nworkers = true", "pools.gpu.workers", 2, "cannot use true here"),
    "negative workers": ("[pools.gpu]\nworkers = -1", "pools.gpu.workers", 2, "0 or more"),
    "a slip of the finger": ("[pools.gpu]\nworkers = 10000", "pools.gpu.workers", 2, "(at most 9999)"),
    "no concurrency": ("[pools.gpu]\nconcurrency = 0", "pools.gpu.concurrency", 2, "1 or more"),
    "number for a duration": ("[watch]\nquiet_period = 2\n", "watch.quiet_period", 2, 'such as "500ms", "2s"'),
    "duration without unit": ('[watch]\nquiet_period = "2"\n', "watch.quiet_period", 2, 'such as "500ms", "2s"'),
    "zero where time must pass": ('[watch]\nquiet_period = "0s"\n', "watch.quiet_period", 2, "at least 0.001 s"),
    "a watchdog that no worker survives": ('[trapd]\nwatchdog = "1ms"', "trapd.watchdog", 2, "at least 1 s is needed"),
    "longer than anything": (f'[trapd]\nwatchdog = "{"9" * 400}d"', "trapd.watchdog", 2, "longer than a century"),
    "none where it is not allowed": ('[rollout]\nprogress_deadline = "none"', "rollout.progress_deadline", 2, "write"),
    "unknown choice": ('[trapd]\nbackend = "sytemd"\n', "trapd.backend", 2, 'did you mean "systemd"?'),
    "unknown Celery pool": ('[pools.a]\ncelery_pool = "fork"', "pools.a.celery_pool", 2, '"prefork", "threads"'),
    "bad amount": ('[rollout]\nmax_surge = "half"', "rollout.max_surge", 2, '"25%"'),
    "more unavailable than there are": (
        '[rollout]\nmax_unavailable = "101%"',
        "rollout.max_unavailable",
        2,
        "100% at most",
    ),
    "application by its file": ('[app]\napp = "proj/celery.py"\n', "app.app", 2, "`celery -A`"),
    "empty path": ('[app]\npython = ""\n', "app.python", 2, "write a path"),
    "a path with a line break": (
        '[trapd]\nstate_directory = "/srv\\nExecStartPre=+/srv/x"',
        "trapd.state_directory",
        2,
        "it has a control character",
    ),
    "nothing watched": ("[watch]\ndistributions = []", "watch.distributions", 2, "it is empty"),
    "more than a name": ('[watch]\ndistributions = ["a", "b==1.0"]', "watch.distributions", 2, "item 2 is no name"),
    "a name twice": ('[watch]\ndistributions = ["a", "a"]', "watch.distributions", 2, "there twice"),
    "a queue with a comma": ('[pools.a]\nqueues = ["a,b"]', "pools.a.queues", 2, "list of queues"),
    "a kind of event that there is not": ('[notify]\non = ["rejectd"]', "notify.on", 2, 'did you mean "rejected"?'),
    "a command by its name alone": ('[notify]\ncommand = ["mail"]', "notify.command", 2, "needs an absolute path"),
    "a notifying unit by its whole name": (
        '[notify]\nunit = "trapd-notify-a@.service"',
        "notify.unit",
        2,
        "write the N",
    ),
    "table expected": ("watch = 3", "watch", 1, "write a table: [watch]"),
    "pools as a list": ("[[pools]]\nworkers = 1", "pools", 1, "write a table: [pools]"),
    "pool's table expected": ("[pools]\ngpu = 3", "pools.gpu", 2, "write a table: [pools.gpu]"),
    "bad pool name": ("[pools.GPU-1]\nworkers = 1", "pools.GPU-1", 1, "a-z, 0-9 and _"),
    "long pool name": (f"[pools.{'a' * 101}]", f"pools.{'a' * 101}", 1, "room for 100; use a shorter name"),
    "both amounts 0": ("[rollout]\nmax_surge = 0", "rollout.max_surge", 2, "1 or more"),
    "both amounts 0 in one pool": ("[pools.a.rollout]\nmax_surge = 0", "pools.a.rollout.max_surge", 2, "1 or more"),
    "ready longer than the deadline": (
        '[rollout]\nmin_ready = "1h"',
        "rollout.min_ready",
        2,
        "shorter than progress_deadline",
    ),
    "deadline of a pool shorter than the common min_ready": (
        '[rollout]\nmin_ready = "5min"\n[pools.a.rollout]\nprogress_deadline = "4min"',
        "pools.a.rollout.progress_deadline",
        4,
        "shorter than progress_deadline",
    ),
    "limits the wrong way": (
        '[pools.a]\ntime_limit = "1h"\nsoft_time_limit = "1h"',
        "pools.a.soft_time_limit",
        3,
        "make soft_time_limit shorter",
    ),
    "an option of another place": (
        "[pools.a]\ntask_events = true",
        "pools.a.task_events",
        2,
        "worker_send_task_events",
    ),
    "an option without a place": ("[pools.a]\nautoscale = '9,1'", "pools.a.autoscale", 2, "trapctl scale"),
    "beat in a worker": ("[pools.a]\nbeat = true", "pools.a.beat", 2, 'a pool of its own with run = "beat"'),
    "a limit for beat": ('[pools.a]\nrun = "beat"\ntime_limit = "1h"', "pools.a.time_limit", 3, "pool of workers"),
    "two beats": ('[pools.a]\nrun = "beat"\nworkers = 2', "pools.a.workers", 3, "set workers to 1"),
    "two pools of beat": ('[pools.a]\nrun = "beat"\n[pools.b]\nrun = "beat"', "pools.b.run", 4, "remove [pools.b]"),
    "a beat beside the next": ('[pools.a]\nrun = "beat"\nsingleton = false', "pools.a.singleton", 3, "remove it"),
    "a beat that runs tasks": ('[pools.a]\nrun = "beat"\nconcurrency = 4', "pools.a.concurrency", 3, "pool of workers"),
    "a beat that reads queues": ('[pools.a]\nqueues = ["a"]\nrun = "beat"', "pools.a.queues", 2, "pool of workers"),
    "a beat with a Celery pool": ('[pools.a]\nrun = "beat"\ncelery_pool = "solo"', "pools.a.celery_pool", 3, "workers"),
    "another program of Celery": ('[pools.a]\nrun = "flower"', "pools.a.run", 2, '"worker", "beat"'),
    "two of a singleton": ("[pools.a]\nsingleton = true\nworkers = 2", "pools.a.workers", 3, "set workers to 1"),
    "ceiling below the quiet period": ('[watch]\nceiling = "2s"', "watch.ceiling", 2, "longer than the quiet_period"),
    "a path too long for sockets": (
        f'[trapd]\nruntime_directory = "/{"r" * 95}"',
        "trapd.runtime_directory",
        2,
        "use a shorter path",
    ),
    "a variable that is no string": ("[pools.a.environment]\nA = 1", "pools.a.environment", 1, "A is not a string"),
    "a variable of trapd's own": (
        '[pools.a]\nenvironment = {NOTIFY_SOCKET = "x"}',
        "pools.a.environment",
        2,
        "set by trapd itself",
    ),
    "a unit setting of two lines": ('[pools.a.systemd]\nNice = "1\\n2"', "pools.a.systemd.Nice", 2, "write one line"),
    "not TOML": ("[trapd]\nbackend = \n", "", 2, "cannot read this as TOML: invalid value"),
    "TOML that ends too soon": ('[trapd]\nbackend = "aut', "", 2, "cannot read this as TOML: unterminated string"),
    "one key twice": ('[watch]\nceiling = "5s"\nceiling = "6s"', "", 3, "cannot overwrite a value"),
}


@pytest.mark.parametrize(("text", "key", "line", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_file_is_refused_with_key_line_and_remedy(
    write: Write, text: str, key: str, line: int, said: str
) -> None:
    error = refusal(write(text))
    assert (error.key, error.line) == (key, line)
    assert said in str(error)
    assert error.remedy
    assert error.message.startswith("cannot ")
    assert not str(error).endswith(".")


def test_the_whole_message_reads_as_one_line_to_act_on(write: Write) -> None:
    file = write('[pools.gpu]\nworkers = "two"\n')
    assert str(refusal(file)) == (
        f'{file}:2: pools.gpu.workers: cannot use "two" here; write a whole number, 0 or more'
    )


def test_environment_values_never_show_in_a_message(write: Write) -> None:
    for environment in ('{A = "s3cret", NOTIFY_SOCKET = "s3cret"}', '["s3cret"]', '{"A B" = "s3cret"}'):
        assert "s3cret" not in str(refusal(write(f"[pools.a]\nenvironment = {environment}")))


def test_a_missing_file_is_refused_with_the_ways_to_name_another(tmp_path: Path) -> None:
    error = refusal(tmp_path / "absent.toml")
    assert "no such file" in str(error)
    assert "--config or TRAPD_CONFIG" in error.remedy


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a directory" in str(refusal(tmp_path))


def test_text_that_is_not_utf8_is_refused_with_its_line(write: Write) -> None:
    file = write("")
    file.write_bytes(b"[app]\napp = '\xff'\n")
    assert refusal(file).line == 2


def test_a_byte_order_mark_is_no_mistake(write: Write) -> None:
    file = write("")
    file.write_bytes(b"\xef\xbb\xbf[pools.gpu]\nworkers = 3\n")
    assert load(file).pools[0].workers == 3


def test_a_file_that_everybody_may_write_is_refused_with_the_command_that_mends_it(write: Write) -> None:
    file = write("")
    file.chmod(0o646)
    error = refusal(file)
    assert "everybody may write it (mode 0646)" in str(error)
    assert error.remedy == f"chmod o-w {file}"


def test_a_celeryconfig_that_everybody_may_write_is_refused_too(write: Write, tmp_path: Path) -> None:
    """trapd and its workers execute it."""
    celeryconfig = tmp_path / "celeryconfig.py"
    celeryconfig.touch()
    celeryconfig.chmod(0o666)
    with pytest.raises(SettingsError, match="everybody may write it") as caught:
        load(write(f'[app]\nceleryconfig = "{celeryconfig}"\n'))
    assert (caught.value.file, caught.value.remedy) == (str(celeryconfig), f"chmod o-w {celeryconfig}")


def test_a_file_that_ones_own_group_may_write_is_fine(write: Write) -> None:
    file = write("")
    file.chmod(0o664)
    assert load(file).backend == "auto"


@pytest.mark.parametrize(
    ("owner", "group", "mode", "remedy"), [(12345, 0, 0o644, "chown root"), (0, 12345, 0o664, "chmod g-w")]
)
def test_a_file_under_somebody_elses_control_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, mode: int, remedy: str
) -> None:
    file = write("")
    seen = list(file.stat())
    seen[0], seen[4], seen[5] = mode, owner, group
    monkeypatch.setattr(os, "fstat", lambda _fd: os.stat_result(seen))
    assert refusal(file).remedy == f"{remedy} {file}"


@given(
    hours=st.integers(0, 99), minutes=st.integers(0, 59), millis=st.integers(1, 999), space=st.sampled_from(["", " "])
)
def test_durations_add_up(hours: int, minutes: int, millis: int, space: str) -> None:
    read = KEYS["watch"]["ceiling"].kind.read
    text = space.join((f"{hours}h", f"{minutes}min", f"{millis}ms"))
    assert read(text, Path()) == pytest.approx(hours * 3600 + minutes * 60 + millis / 1000)


@pytest.mark.parametrize("text", ["", "s", "1", "1 sec", "-1s", "1s,", "1e3s", "none", "1.s", "١s"])
def test_anything_else_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError):
        KEYS["watch"]["ceiling"].kind.read(text, Path())


def test_a_key_is_found_in_every_way_toml_can_write_it() -> None:
    lines = ["top.dotted = 1", "[ pools . gpu ]", '"workers" = 2', "rollout.max_surge = 1", "systemd = {a = 1}"]
    document = Document(Path("f"), "\n".join(lines), {})
    asked = ["top.dotted", "pools.gpu", "pools.gpu.workers", "pools.gpu.rollout.max_surge", "pools.gpu.systemd.a"]
    assert [document.line(key) for key in asked] == [1, 2, 3, 4, 5]
    assert document.line("pools.gpu.queues") == 2
    assert document.line("watch.ceiling") is None


def shipped_lines() -> list[tuple[str, str, str]]:
    """(table, key, comment above it) of every key that the shipped file documents."""
    found, table, comment = [], "", ""
    for line in SHIPPED.read_text().splitlines():
        if header := re.fullmatch(r"\[(.*)\]", line):
            table = header[1]
        elif key := re.match(r"(?:#(?: Example: )?)?([a-z_]+) = ", line):
            found.append(("pools.NAME" if table == "pools.default" else table, key[1], comment))
        comment = f"{comment} {line[2:]}" if line.startswith("# ") else ""
    return found


def test_the_shipped_file_documents_every_key_in_the_words_of_the_table() -> None:
    documented = {(table, key): comment for table, key, comment in shipped_lines()}
    known = {(table, key): entry.doc for table, keys in KEYS.items() for key, entry in keys.items()}
    assert documented.keys() == known.keys()
    assert [key for key, doc in known.items() if doc not in documented[key]] == []


def test_the_shipped_file_is_for_trap_in_an_environment_of_its_own_and_shows_the_defaults(write: Write) -> None:
    own = '[app]\npython = "/opt/trap/bin/python"\n'
    empty, text = load(write(own)), SHIPPED.read_text()
    assert load(write(text)) == empty
    shown, count = re.subn(r"(?m)^#([a-z_]+ = )", r"\1", text)
    assert count >= 19
    assert load(write(shown)) == empty


def test_the_examples_of_the_shipped_file_load(write: Write) -> None:
    text = re.sub(r"(?m)^# Example: ", "", SHIPPED.read_text())
    text = re.sub(r"(?m)^# Example:\n# (.*)\n# (.*)$", r"\1\n\2", text)
    settings = load(write(text))
    assert settings.application.smoke_test == "mypipeline.checks:smoke"
    assert settings.pools[0].policy.drain_timeout == 3600
    assert settings.pools[0].unit == {"MemoryMax": "8G"}


@pytest.mark.parametrize(("written", "environment"), [("true", "true"), ("false", "false"), ('"auto"', None)])
def test_the_setting_of_numbas_cache_reaches_the_workers(tmp_path: Path, written: str, environment: str | None) -> None:
    path = tmp_path / "trapd.toml"
    path.write_text(f"[app]\nnumba_cache = {written}\n")
    settings = load(path)
    assert settings.pools[0].environment.get("TRAPD_NUMBA_CACHE") == environment
    assert settings.application.environment.get("TRAPD_NUMBA_CACHE") == environment
