"""A worker of the standard library alone that does as its script says; runs as a program, in 20 ms.

    stub_worker.py NAME RUNTIME '{"ready_after": 0.1, ...}'

Keys of the script, all optional; times in seconds, null for never, or for not before the file RUNTIME/NAME.go is there:
  words              printed at the start
  show               names of environment variables, printed
  note               a path: "start" and each signal are written there
  child              a path: a child is forked, which writes its process id and the signals it gets there
  child_says         what that child says to the notify socket, every 0.05 s
  extend             seconds by which the start is prolonged, every 0.05 s
  ready_after        READY=1 after so long (0)
  code_failure       a summary: exit status 70 with a report instead of READY=1
  report, strays     whether there is a code report (true), and what strays it names
  status             STATUS= that comes with READY
  later              strays of a second report, made and told with a STATUS when that file is there
  ping               WATCHDOG=1 every 0.05 s (true); or for so many seconds after READY
  leave_after        after READY it exits by itself, with leave_status (1) or by leave_signal
  drain              from SIGTERM to the exit (0), with drain_status (0)
  prolong            seconds by which a drain is prolonged, every 0.05 s
  stopping           SIGTERM is answered by STOPPING=1
  survives_abort     SIGABRT is ignored
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

TICK = 0.05
NAME, RUNTIME, SCRIPT = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
GO = Path(RUNTIME) / f"{NAME}.go"


def say(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, contextlib.suppress(OSError):
        line.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def note(path: str, word: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{word}\n")


def report(failure: dict[str, str] | None = None) -> None:
    generation = int(NAME.partition("@")[2].partition("-")[0])
    found = {
        "schema": 1,
        "instance": NAME,
        "pid": os.getpid(),
        "generation": generation,
        "digest": f"digest-{generation}",
        "versions": {},
        "strays": SCRIPT.get("strays", []),
        "failure": failure,
        "wall": time.time(),
    }
    path = Path(RUNTIME) / "instances" / f"{NAME}.json"
    path.with_suffix(".tmp").write_text(json.dumps(found))
    path.with_suffix(".tmp").replace(path)


def told_to_go_on() -> bool:
    """Once for each time that somebody made the file."""
    try:
        GO.unlink()
    except FileNotFoundError:
        return False
    return True


def fork_child(path: str) -> None:
    if os.fork():
        return
    signal.signal(signal.SIGTERM, lambda number, frame: note(path, f"signal {number}"))
    note(path, str(os.getpid()))
    while True:
        if SCRIPT.get("child_says"):
            say(SCRIPT["child_says"])
        time.sleep(TICK)


def main() -> None:
    asked_at: list[float] = []

    def asked(number: int, frame: object) -> None:
        asked_at.append(time.monotonic())
        if "note" in SCRIPT:
            note(SCRIPT["note"], f"signal {number}")
        if SCRIPT.get("stopping"):
            say("STOPPING=1")

    signal.signal(signal.SIGTERM, asked)
    if "note" in SCRIPT:
        note(SCRIPT["note"], f"start {os.getpid()}")
    print(SCRIPT.get("words", "hello"), flush=True)
    for name in SCRIPT.get("show", ()):
        print(f"{name}={os.environ.get(name)}", flush=True)
    if SCRIPT.get("survives_abort"):
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
    if "child" in SCRIPT:
        fork_child(SCRIPT["child"])
    began, ready_at = time.monotonic(), None
    while True:
        now = time.monotonic()
        if asked_at:
            leave_asked(asked_at[0], now)
        elif ready_at is None:
            ready_at = start(began, now)
        else:
            stay(ready_at, now)
        time.sleep(0.01 if asked_at else TICK / 2)


def start(began: float, now: float) -> float | None:
    if "extend" in SCRIPT:
        say(f"EXTEND_TIMEOUT_USEC={int(SCRIPT['extend'] * 1e6)}")
    after = SCRIPT.get("ready_after", 0.0)
    if not told_to_go_on() if after is None else now < began + after:
        return None
    if "code_failure" in SCRIPT:
        report({"kind": "code", "summary": SCRIPT["code_failure"], "detail": SCRIPT.get("words", "hello")})
        sys.exit(70)
    if SCRIPT.get("report", True):
        report()
    say(f"READY=1\nSTATUS={SCRIPT.get('status', 'ready, 0 active')}")
    return now


def stay(ready_at: float, now: float) -> None:
    if "later" in SCRIPT and told_to_go_on():
        SCRIPT["strays"] = SCRIPT.pop("later")
        report()
        say("STATUS=ready, 2 active, and a stray")
    ping = SCRIPT.get("ping", True)
    if ping is True or now < ready_at + ping:
        say("WATCHDOG=1")
    after = SCRIPT.get("leave_after")
    if after is not None and now >= ready_at + after:
        if "leave_signal" in SCRIPT:
            os.kill(os.getpid(), SCRIPT["leave_signal"])
        sys.exit(SCRIPT.get("leave_status", 1))


def leave_asked(asked_at: float, now: float) -> None:
    if "prolong" in SCRIPT:
        say(f"EXTEND_TIMEOUT_USEC={int(SCRIPT['prolong'] * 1e6)}")
    after = SCRIPT.get("drain", 0.0)
    if told_to_go_on() if after is None else now >= asked_at + after:
        sys.exit(SCRIPT.get("drain_status", 0))


if __name__ == "__main__":
    main()
