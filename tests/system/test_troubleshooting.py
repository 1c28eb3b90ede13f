"""docs/troubleshooting.md: a rollout that hangs, as the document tells it, with what it tells to type and to see."""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.applications import transcripts
from tests.conftest import make_broker
from tests.support import sample
from tests.support.daemon import Daemon, pool, settled_on
from tests.support.sample import Application
from tests.support.upgrade import Setting

DOCUMENT = "docs/troubleshooting.md"
ROOT = transcripts.ROOT
EXIT = re.compile(r"exit status (\d+)\n")


def rows(heading: str) -> list[str]:
    """The first column of a table, without its head."""
    lines = [line for line in transcripts.section(DOCUMENT, heading).splitlines() if line.startswith("| `")]
    return [line.split("|")[1].strip() for line in lines]


def test_what_trapd_waits_for_is_in_the_table_and_nothing_else() -> None:
    """Words of the code with their values left out, against the words of the table with examples of them."""
    sources = [*(ROOT / "trapd/rollout").glob("*.py"), ROOT / "trapd/controller.py"]
    text = "\n".join(source.read_text() for source in sources)
    said = re.findall(r'(?:waiting(?:\.append\(|=| = (?=f)| \+= \[)|\.short =)\s*f?"([^"]+)"', text) + re.findall(
        r'else "(a person[^"]+)"', text
    )
    assert len(said) > 10

    def plain(words: str) -> str:
        return re.sub(r"\{[^}]+\}|default@\d-\d|\d+", "N", words.strip("`"))

    def explains(row: str, words: str) -> bool:
        with_any_value = ".*".join(map(re.escape, re.split(r"\{[^}]+\}", words)))  # a value may be empty
        return plain(words).startswith(plain(row)) or re.match(with_any_value, row.strip("`")) is not None

    table = rows("What it waits for")
    assert [words for words in said if not any(explains(row, words) for row in table)] == []
    assert [row for row in table if not any(explains(row, words) for words in said)] == []


def pattern(line: str) -> str:
    """Of a line that is shown: "..." alone is any number of lines, and within a line any words."""
    return r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"


def follow(text: str, daemon: Daemon) -> None:
    """Type each command; "..." in what is shown stands for anything, no output shown for any output."""
    for command, shown in transcripts.commands(text):
        words = shlex.split(command)
        assert words[0] == "trapctl"
        done = daemon.ctl(*words[1:])
        status = EXIT.search(shown)
        wanted = "".join(map(pattern, EXIT.sub("", shown).splitlines()))
        assert re.fullmatch(wanted or r"[^\0]*", done.stdout), (command, wanted, done.stdout, done.stderr)
        assert done.returncode in ((int(status[1]),) if status else (0, 1)), (command, done.stdout, done.stderr)


@pytest.mark.timeout(180)
def test_a_drain_that_hangs_is_seen_and_ended_as_the_document_says(
    application: Application, short_path: Path, request: pytest.FixtureRequest
) -> None:
    setting = Setting(make_broker("redis", request), acks_late=False, workers=1, concurrency=1)
    application.put("1.0")
    tables = setting.tables(application) | {"rollout": {"min_ready": "1s"}}
    with Daemon(short_path, celeryconfig=setting.celeryconfig(), tables=tables) as daemon:
        daemon.wait_until("a worker", settled_on("1.0", 1))
        setting.broker.app().send_task(sample.NAP, (300.0, str(short_path / "ledger")))
        while not (short_path / "ledger").exists():
            time.sleep(0.1)
        application.install(application.wheel("2.0"))
        daemon.wait_until("the drain", lambda status: "finish its tasks" in (pool(status)["waiting"] or ""))

        follow((ROOT / DOCUMENT).read_text().partition("\n## ")[0], daemon)
        before, setting_, after = re.split(
            r"^```toml\n(.*?)^```$",
            transcripts.section(DOCUMENT, "An old worker does not finish"),
            flags=re.MULTILINE | re.DOTALL,
        )
        follow(before, daemon)
        text = daemon.config.read_text()
        assert "[rollout]\n" in setting_
        daemon.config.write_text(text.replace("[rollout]\n", setting_.partition("\n")[2]))
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGHUP)
        follow(after, daemon)
        follow(transcripts.section(DOCUMENT, "Nothing begins"), daemon)
