"""Real trapctl processes against a real control socket, behind which a fake controller plays a scenario."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.json_schema import faults
from trapd.control import methods
from trapd.ctl.client import AnswerError, Client

ROOT = Path(__file__).parents[2]
TRAPCTL = [sys.executable, "-m", "trapd.ctl.main"]


@dataclass
class Trapd:
    """A running fake trapd."""

    socket: Path
    process: subprocess.Popen[str]

    def ctl(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return ctl("--socket", str(self.socket), *arguments, **environ)


def ctl(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRAPCTL, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        env=os.environ | environ,
        cwd=ROOT,
    )


@contextlib.contextmanager
def begun(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """trapctl while it runs."""
    pipe = subprocess.PIPE
    env = os.environ | {"PYTHONUNBUFFERED": ""}  # what is said in a pipe has to be said at once all the same
    with subprocess.Popen([*TRAPCTL, *arguments], stdout=pipe, stderr=pipe, text=True, env=env, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    assert any(words in line for line in process.stdout), f"it never said {words!r}"


@contextlib.contextmanager
def trapd(directory: Path, scenario: str = "good", pace: float = 0.15) -> Iterator[Trapd]:
    path = directory / "control.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_controller", str(path), scenario, str(pace)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield Trapd(path, process)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
def running(short_path: Path) -> Iterator[Trapd]:
    with trapd(short_path) as one:
        yield one


def exactly(done: subprocess.CompletedProcess[str], status: int) -> None:
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"


# --- status ---------------------------------------------------------------------------------------------------------


def test_status_as_json_fits_the_schema_and_is_all_there_is(running: Trapd) -> None:
    done = running.ctl("status", "--json")
    exactly(done, 0)
    answer = json.loads(done.stdout)
    assert done.stderr == ""
    assert faults(answer, "Status") == []
    assert [one["state"] for one in answer["pools"][0]["instances"]] == ["ready", "ready"]


def test_what_the_verbs_that_wait_print_as_json_fits_the_schema(running: Trapd) -> None:
    for name, arguments in (
        ("Rollouts", ("recycle", "--json")),
        ("Rollouts", ("recycle", "--json", "--no-wait")),
        ("RolloutStatus", ("rollout", "status", "--json", "--no-wait")),
        ("Problem", ("rollout", "status", "--json", "nowhere")),
    ):
        done = running.ctl(*arguments)
        assert faults(json.loads(done.stdout), name) == [], arguments


def test_status_in_a_pipe_is_a_table_of_plain_whole_lines(running: Trapd) -> None:
    done = running.ctl("status")
    exactly(done, 0)
    lines = done.stdout.splitlines()
    assert lines[0] == f"trapd 0.1.0 running on {socket.gethostname()}, pid {running.process.pid}, embedded"
    assert lines[1] == "disk  settled, trap 1.3.0 (f0)"
    assert lines[3] == "pool default: as desired, 2 of 2 ready, trap 1.3.0, generation 7 (f7)"
    assert lines[4].split() == ["WORKER", "STATE", "CODE", "TASKS", "UP", "RESTARTS", "MEMORY"]
    assert re.fullmatch(r"default@7-1  ready  1\.3\.0  1 +1m\d\ds +0 +300M of 2\.0G", lines[5])


def test_status_is_1_where_something_is_not_as_desired(running: Trapd) -> None:
    exactly(running.ctl("scale", "default", "+1"), 0)
    done = running.ctl("status")
    exactly(done, 1)
    assert "problem    2 of 3 workers are ready" in done.stdout


def test_status_of_a_pool_that_is_not_there_is_unknown(running: Trapd) -> None:
    done = running.ctl("status", "gpu")
    exactly(done, 4)
    assert done.stderr == "trapctl: cannot find pool 'gpu': there are: default\n"


def test_status_says_whether_trapd_is_not_there_or_only_does_not_answer(short_path: Path) -> None:
    path = short_path / "control.sock"
    done = ctl("--socket", str(path), "status")
    exactly(done, 3)
    assert done.stderr.startswith(f"trapctl: cannot reach trapd at {path}: no such socket; start trapd")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        exactly(ctl("--socket", str(path), "status"), 3)  # nobody listens
        left.listen()
        with begun("--socket", str(path), "status") as process:
            left.accept()[0].close()  # somebody listens and hangs up
            _, said = process.communicate(timeout=20)
    assert process.returncode == 4
    assert said.startswith(f"trapctl: cannot reach trapd at {path} any more: ")


def test_a_trapd_that_speaks_of_things_in_another_schema_is_told_from_one_that_is_not_there(short_path: Path) -> None:
    path = short_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as newer:
        newer.bind(str(path))
        newer.listen()
        for verb, status in ("status", 4), ("recycle", 69), ("plan", 255):
            with begun("--socket", str(path), verb) as process:
                connection, _ = newer.accept()
                connection.recv(1 << 16)
                connection.sendall(b'{"jsonrpc":"2.0","id":1,"result":{"schema":3,"daemons":[]}}\n')
                _, said = process.communicate(timeout=20)
                connection.close()
            assert process.returncode == status, said
            assert "its answers have schema 3, and this trapctl knows 2; use the trapctl that came with" in said


def test_an_error_is_json_too_where_json_was_asked_for(short_path: Path) -> None:
    done = ctl("--socket", str(short_path / "none.sock"), "status", "--json")
    exactly(done, 3)
    said = json.loads(done.stdout)
    assert said["schema"] == 2
    assert said["error"]["exit"] == 3
    assert "no such socket" in said["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "banned"),
    [
        (["status"], ("kombu", "trapd.rollout", "trapd.worker")),
        (["status", "--json"], ()),
        (["recycle", "--json"], ()),
    ],
)
def test_neither_status_nor_a_wait_imports_anything_heavy(
    running: Trapd, tmp_path: Path, arguments: list[str], banned: tuple[str, ...]
) -> None:
    """Imports are nearly all that a trapctl takes: ``benchmarks.idle`` has the time. Counted: 165 to 175 modules, 40 of
    them trapd's own; rich would bring 70 more, asyncio 50. trapd.toml says where trapd is, as usual."""
    heavy = ("celery", "asyncio", "rich", "difflib", "trapd.controller", "trapd.model", *banned)
    (config := tmp_path / "trapd.toml").write_text(f'[trapd]\nruntime_directory = "{running.socket.parent}"\n')
    code = (
        "import sys\nfrom trapd.ctl.main import main\n"
        f"main(['--config', {str(config)!r}, *{arguments!r}])\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = done.stderr.split()
    assert [name for name in loaded if name.startswith(heavy)] == []
    assert len(loaded) < 190


def test_status_can_be_watched_until_ctrl_c_whether_trapd_is_there_or_not(short_path: Path) -> None:
    path = short_path / "control.sock"
    with trapd(short_path), begun("--socket", str(path), "status", "--watch") as process:
        read_until(process, "pool default: as desired, 2 of 2 ready, trap 1.3.0, generation 7")
        read_until(process, "pool default: as desired, 2 of 2 ready, trap 1.3.0, generation 7")
    with begun("--socket", str(path), "status", "--watch") as process:
        read_until(process, "no such socket; start")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


# --- changing and waiting -------------------------------------------------------------------------------------------


def test_recycle_waits_and_tells_each_step_on_a_line(running: Trapd) -> None:
    done = running.ctl("recycle", "--reason", "new kernel")
    exactly(done, 0)
    assert done.stdout.splitlines() == [
        "pool default: rollout 1 of generation 8 begun: new kernel",
        "pool default: 0 of 2 workers are on generation 8 (1 starting, 2 old at work) ... waiting for READY",
        "pool default: 1 of 2 workers are on generation 8 (1 draining, 1 old at work) ...",
        "pool default: 2 of 2 workers are on generation 8 (1 draining) ...",
        "pool default: successfully rolled out generation 8",
    ]
    (past,) = json.loads(running.ctl("rollout", "history", "--json").stdout)["rollouts"]
    assert (past["reason"], past["actor"], past["state"]) == ("new kernel", "root", "complete")


def test_recycle_on_a_terminal_draws_a_bar_and_ends_with_the_outcome(running: Trapd) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TRAPCTL, "--socket", str(running.socket), "recycle"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env=os.environ | {"COLUMNS": "100", "TERM": "xterm"},
        cwd=ROOT,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        while more := terminal.read(4096):  # EIO at its end
            said += more
    assert process.wait(10) == 0
    assert b"##########" in said
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", said).replace(b"\r", b"")
    assert plain.strip().endswith(b"pool default: successfully rolled out generation 8")


def test_a_rejected_rollout_ends_with_its_traceback_and_exit_status_1(short_path: Path) -> None:
    with trapd(short_path, "bad") as one:
        done = one.ctl("recycle")
        exactly(done, 1)
        lines = done.stdout.splitlines()
        assert "pool default: generation 8 was rejected: default@8-1 failed to start" in lines
        assert "    ModuleNotFoundError: No module named 'numba_next'" in lines
        assert "generation 7 serves, as before" in lines
        assert lines[-1] == "trapctl why 1 shows more; trapctl retry default tries the same code again"
        shown = one.ctl("status")
        exactly(shown, 1)
        assert re.search(r"rollout 1 rejected after \d+s: default@8-1 failed to start", shown.stdout)
        assert "ModuleNotFoundError: No module named 'numba_next'" in shown.stdout
        exactly(one.ctl("rollout", "status"), 1)
        for how in ([], ["--no-wait"]):
            done = one.ctl("rollout", "status", *how)
            exactly(done, 1)
            assert re.search(r"^trapctl: pool default: trap 1\.3\.0 is installed and does not run: ", done.stderr)
            assert "install other code, or try the same again: trapctl retry default" in done.stderr


@pytest.mark.parametrize("verb", ["recycle", "retry"])
def test_a_rollout_that_goes_well_while_what_is_installed_is_refused_ends_with_1_and_why(
    short_path: Path, verb: str
) -> None:
    """Every wait speaks of what is installed now: `trapctl recycle && tell-all` must not tell of a success."""
    with trapd(short_path, "passed_by") as one:
        done = one.ctl(verb)
        exactly(done, 1)
        assert "pool default: successfully rolled out generation 8" in done.stdout
        said = r"^trapctl: pool default: trap 1\.4\.0 is installed and does not run: default@6-1 failed to start, "
        assert re.search(said, done.stderr), done.stderr
        assert "install other code, or try the same again: trapctl retry default" in done.stderr


def test_undo_waits_for_its_own_rollout_alone(short_path: Path) -> None:
    """Its purpose is that what is installed does not run."""
    with trapd(short_path, "passed_by") as one:
        done = one.ctl("rollout", "undo", "default")
        exactly(done, 0)
        assert done.stdout.rstrip().endswith("pool default: successfully rolled out generation 8")
        exactly(one.ctl("rollout", "status"), 1)


def test_a_wait_that_times_out_says_that_it_goes_on_and_ends_with_75(short_path: Path) -> None:
    with trapd(short_path, "stuck") as one:
        done = one.ctl("recycle", "--timeout", "300ms")
        exactly(done, 75)
        assert done.stderr.startswith(
            "trapctl: rollout 1 still goes on (pool default: 0 of 2 workers are on generation 8"
        )
        assert done.stderr.endswith("wait again with trapctl rollout status default\n")
        exactly(one.ctl("rollout", "status", "--timeout", "0"), 75)
        exactly(one.ctl("rollout", "status", "--no-wait"), 0)


def test_a_held_rollout_is_told_at_once_since_when_and_with_what_to_do(short_path: Path) -> None:
    with trapd(short_path, "stuck") as one:
        exactly(one.ctl("recycle", "--no-wait"), 0)
        exactly(one.ctl("rollout", "pause", "default"), 0)
        done = one.ctl("rollout", "status", "--no-wait")
        exactly(done, 1)
        assert re.search(
            r"^trapctl: pool default: it is paused, rollout 1 is held, begun \d+s ago; trapctl rollout resume default",
            done.stderr,
        )
        exactly(one.ctl("rollout", "resume", "default"), 0)
        exactly(one.ctl("rollout", "status", "--no-wait"), 0)


def test_without_waiting_recycle_ends_at_once_with_the_number_to_wait_for(running: Trapd) -> None:
    done = running.ctl("recycle", "--no-wait", "--json")
    exactly(done, 0)
    (begun,) = json.loads(done.stdout)["rollouts"]
    assert (begun["id"], begun["state"]) == (1, "pending")
    waited = running.ctl("rollout", "status", "--json")
    exactly(waited, 0)
    assert [one["state"] for one in json.loads(waited.stdout)["rollouts"]] == ["complete"]


def test_a_wait_follows_the_rollout_that_takes_over(short_path: Path) -> None:
    with trapd(short_path, "superseded") as one:
        done = one.ctl("recycle")
        exactly(done, 0)
        assert "pool default: rollout 2 took over from 1; waiting for it" in done.stdout
        assert done.stdout.rstrip().endswith("successfully rolled out generation 9")


def test_a_wait_outlives_a_restart_of_trapd(short_path: Path) -> None:
    with trapd(short_path, "stuck") as one, begun("--socket", str(one.socket), "recycle") as process:
        read_until(process, "0 of 2 workers are on generation 8")
        one.process.terminate()
        read_until(process, "trapd does not answer; waiting for it to come back ...")
        one.process.wait(10)
        with trapd(short_path, "good"):  # which knows nothing of that rollout, and says so
            _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (1, "trapctl: cannot find rollout 1: see trapctl rollout history\n")


def test_ctrl_c_ends_the_wait_and_not_the_rollout(short_path: Path) -> None:
    with trapd(short_path, "stuck") as one, begun("--socket", str(one.socket), "recycle") as process:
        read_until(process, "0 of 2 workers")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert (process.returncode, said.strip()) == (130, "trapctl: interrupted; a rollout that has begun goes on")
        assert json.loads(one.ctl("status", "--json").stdout)["pools"][0]["rollout"]["state"] == "preflight"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scale", "default", "4"], "pool default: 4 workers wanted, 2 before"),
        (["scale", "default", "-1"], "pool default: 1 worker wanted, 2 before"),
        (["rollout", "pause", "default"], "pool default: paused; trapctl rollout resume default lets it go on"),
        (["rollout", "resume", "default"], "pool default: goes on"),
    ],
    ids=" ".join,
)
def test_what_is_done_at_once_is_told_in_a_line(running: Trapd, arguments: list[str], told: str) -> None:
    done = running.ctl(*arguments)
    exactly(done, 0)
    assert done.stdout == told + "\n"


def test_what_is_refused_ends_with_1_and_the_reason(running: Trapd) -> None:
    done = running.ctl("retry")
    exactly(done, 1)
    assert done.stderr == "trapctl: nothing to retry: no refused generation is what is installed now\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recycle", "defualt"], "cannot find pool 'defualt': did you mean default?"),
        (["plan", "gpu"], "cannot find pool 'gpu': there are: default"),
        (["why", "default@99-1"], "cannot explain default@99-1: no such worker runs, and history has none; see"),
        (["why", "99"], "cannot find rollout 99: see trapctl rollout history"),
        (["rollout", "history", "gpu"], "cannot find pool 'gpu': there are: default"),
        (["scale", "default", "many"], "cannot scale default to 'many': write a number up to 9999"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_names_nothing_is_wrong_usage(running: Trapd, arguments: list[str], words: str) -> None:
    done = running.ctl(*arguments)
    exactly(done, 2)
    assert done.stderr.startswith(f"trapctl: {words}")


def test_the_reason_of_a_refusal_is_read_though_the_connection_is_closed_already(short_path: Path) -> None:
    """Of 100 callers that were refused at once 12 got EPIPE instead."""
    path = short_path / "control.sock"
    refusal = b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"cannot serve more"}}\n'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with Client(path) as client:
            server, _ = listening.accept()
            server.sendall(refusal)
            server.close()
            with pytest.raises(AnswerError, match="cannot serve more"):
                client.ask(methods.STATUS({}))


def test_json_may_stand_before_the_verb(running: Trapd) -> None:
    assert json.loads(running.ctl("--json", "plan").stdout) == json.loads(running.ctl("plan", "--json").stdout)


def test_a_locale_without_a_character_is_no_reason_to_fail(running: Trapd) -> None:
    reason = "neue Kerne → schneller"
    command = [*TRAPCTL, "--socket", str(running.socket), "recycle", "--reason", reason]
    env = os.environ | {"PYTHONIOENCODING": "iso8859-1"}
    done = subprocess.run(command, capture_output=True, env=env, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"begun: neue Kerne ? schneller" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("trapctl recycle ", ["default", "default@7-1", "default@7-2"]),
        ("trapctl recycle default ", []),
        ("trapctl rollout pause d", ["default"]),
        ("trapctl why default@", ["default@7-1", "default@7-2"]),
        ("trapctl celery in", ["inspect"]),
        ("trapctl rollout u", ["undo"]),
    ],
)
def test_a_shell_completes_what_trapd_knows(running: Trapd, words: str, offered: list[str]) -> None:
    asked = words.replace("trapctl ", f"trapctl --socket {running.socket} ", 1)
    env = os.environ | {
        "_TRAPCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": asked,
        "COMP_CWORD": str(len(asked.split()) - (not asked.endswith(" "))),
    }
    done = subprocess.run(TRAPCTL, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert [line.partition(",")[2] for line in done.stdout.split()] == offered


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_others_may_look_and_not_touch(running: Trapd) -> None:
    running.socket.parent.chmod(0o755)

    def nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        client = (
            "import socket, sys\n"
            f"s = socket.socket(socket.AF_UNIX); s.connect({str(running.socket)!r})\n"
            "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().readline())"
        )
        return subprocess.run(
            ["/usr/bin/python3", "-c", client, *arguments],
            preexec_fn=as_nobody,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=20,
        )

    assert '"result"' in nobody('{"jsonrpc":"2.0","id":1,"method":"status"}').stdout
    refused = json.loads(nobody('{"jsonrpc":"2.0","id":1,"method":"recycle"}').stdout)["error"]
    assert refused["code"] == 4
    assert refused["message"].startswith(
        "cannot run trapctl recycle: nobody (uid 65534) may only look; run it as root or as a member"
    )


# --- looking --------------------------------------------------------------------------------------------------------


def test_plan_has_exit_statuses_of_its_own(running: Trapd, short_path: Path) -> None:
    done = running.ctl("plan")
    exactly(done, 0)
    assert done.stdout == "pool default: nothing to do\n"
    exactly(ctl("--socket", str(short_path / "none.sock"), "plan"), 255)
    (short_path / "other").mkdir()
    with trapd(short_path / "other", "stuck") as one:
        done = one.ctl("plan")
        exactly(done, 1)
        assert done.stdout == "pool default:\n  start default@8-1: for show\n"


def test_a_plan_names_the_rollout_that_a_pause_holds(short_path: Path) -> None:
    with trapd(short_path, "stuck") as one:
        exactly(one.ctl("recycle", "--no-wait"), 0)
        exactly(one.ctl("rollout", "pause", "default"), 0)
        done = one.ctl("plan")
        exactly(done, 1)
        words = "rollout 1 is held, since the pool is paused; trapctl rollout resume default lets it go on"
        assert words in done.stdout


def test_why_generations_history_and_events_tell_the_same_story(running: Trapd) -> None:
    exactly(running.ctl("recycle", "--reason", "new kernel"), 0)
    why = running.ctl("why", "default").stdout
    assert re.search(r"generation  generation 8: trap 1\.3\.0; new kernel \(by root\)\n", why)
    assert re.search(r"wanted  new kernel \(by root\)\n", why)
    assert "  finished  " in why
    assert re.search(r"^8 +trap 1\.3\.0 +f8 +2 +wanted by default", running.ctl("generations").stdout, re.MULTILINE)
    assert re.search(
        r"^1 +\S+ \S+ +default +7 -> 8 +root +complete in ", running.ctl("rollout", "history").stdout, re.MULTILINE
    )
    assert "default  wanted  new kernel (by root)" in running.ctl("events", "default").stdout


def test_events_are_followed_as_lines_of_json_from_a_cursor_on(running: Trapd) -> None:
    exactly(running.ctl("recycle", "--reason", "first"), 0)
    known = json.loads(running.ctl("events", "--json").stdout)["events"]
    since = str(known[1]["id"])
    with begun("--socket", str(running.socket), "events", "-f", "--since", since, "--json") as following:
        assert following.stdout is not None
        assert [json.loads(following.stdout.readline()) for _ in known[2:]] == known[2:]
        exactly(running.ctl("recycle", "--reason", "second", "--no-wait"), 0)
        new = json.loads(following.stdout.readline())
        assert (new["id"], new["kind"], new["reason"]) == (known[-1]["id"] + 1, "wanted", "second")
        assert faults(new, "Event") == []
    read_until_end = json.loads(running.ctl("events", "--since", since, "--json").stdout)["events"]
    assert [event["id"] for event in read_until_end][: len(known) - 2] == [event["id"] for event in known[2:]]


@pytest.mark.parametrize(
    ("arguments", "member"),
    [
        (["plan"], "pools"),
        (["why", "default"], "chain"),
        (["generations"], "generations"),
        (["rollout", "history"], "rollouts"),
        (["rollout", "status"], "pools"),
        (["rollout", "pause", "default"], "paused"),
        (["events"], "events"),
        (["tasks"], "workers"),
        (["scale", "default", "2"], "wanted"),
        (["recycle"], "rollouts"),
        (["rollout", "undo", "default"], "rollouts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_verb_speaks_json(running: Trapd, arguments: list[str], member: str) -> None:
    done = running.ctl(*arguments, "--json")
    exactly(done, 0)
    said = json.loads(done.stdout)
    assert said["schema"] == 2
    assert member in said
    assert done.stderr == ""


# --- usage, configuration, clients of no use -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["recycle", "--no-such"], ["nonsense"], ["scale"], ["recycle", "--timeout", "x"]]
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    exactly(ctl(*arguments), 2)


def test_a_configuration_that_cannot_be_used_is_78_and_says_where(short_path: Path) -> None:
    (short_path / "trapd.toml").write_text("[trapd]\nbackend = 7\n")
    done = ctl("--config", str(short_path / "trapd.toml"), "status")
    exactly(done, 78)
    assert "trapd.backend" in done.stderr
    exactly(ctl("recycle", TRAPD_CONFIG=str(short_path / "none.toml")), 78)


def test_trapd_is_found_by_its_configuration(short_path: Path) -> None:
    config = f'[trapd]\nbackend = "embedded"\nruntime_directory = "{short_path}"\n'
    (short_path / "trapd.toml").write_text(config)
    with trapd(short_path):
        exactly(ctl("--config", str(short_path / "trapd.toml"), "status"), 0)
        exactly(ctl("status", TRAPD_CONFIG=str(short_path / "trapd.toml")), 0)
    exactly(ctl("--config", str(short_path / "trapd.toml"), "recycle"), 7)


def test_a_reader_that_has_seen_enough_is_no_error(running: Trapd) -> None:
    line = f"{' '.join(TRAPCTL)} --socket {running.socket} status --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_client_that_reads_nothing_does_not_keep_others_waiting(running: Trapd) -> None:
    request = b'{"jsonrpc":"2.0","id":1,"method":"status"}\n'
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(running.socket))
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10_000):
                deaf.send(request * 10)
        exactly(running.ctl("status"), 0)


def test_half_a_request_and_a_hang_up_leave_it_answering(running: Trapd) -> None:
    for sent in (b"", b'{"jsonrpc"', b"\xff\n\n{}\n[]\n"):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(running.socket))
            rude.sendall(sent)
    exactly(running.ctl("status"), 0)
