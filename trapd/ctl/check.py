"""`trapctl check`: import the application as a worker would, and report what is wrong. Needs no running trapd."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from trapd import environment, python_version
from trapd.control import documents, methods
from trapd.control.protocol import SCHEMA
from trapd.ctl import rules_notify, rules_options, rules_paths, rules_running, rules_settings, rules_units
from trapd.ctl.application import command, permit
from trapd.ctl.celery_rules import celery_findings
from trapd.ctl.client import AnswerError, UnreachableError
from trapd.ctl.exits import Exit
from trapd.ctl.findings import ALWAYS, ERROR, WARNING, Facts, Finding
from trapd.ctl.session import Session
from trapd.masking import masked
from trapd.mount_table import is_noexec
from trapd.settings import Settings, resolve_backend, variables
from trapd.settings.sealing import unsealed
from trapd.sizes import counted

PATIENCE = 300.0  # s; Trap takes 30 to import, a busy machine several times that
PATIENCE_OF_OTHERS = 2.0  # s without a line, if standard error is a log or a pipe


def check(session: Session) -> Exit:
    """Run the verb. Raises SettingsError (exit status 78: without settings there is nothing to check) and
    NotPermittedError."""
    settings = session.settings
    permit(settings)
    # both at the same time: a celeryconfig that imports the application takes as long as the application
    application = settings.application
    with announced(f"importing {application.app} on {application.python} ..."), ThreadPoolExecutor() as aside:
        disk = aside.submit(look, settings)
        report = {**inspect(settings, session.environ), "disk": disk.result(), "unsealed": unsealed(settings)}
        report["noexec"] = is_noexec(settings.state_directory)
    of_units = [*unit_findings(settings), *rules_units.findings(settings), *rules_notify.findings(settings)]
    results = [*of_units, *findings(Facts(settings, report, session.environ)), *running(session)]
    shown = masked([finding.document() for finding in results])
    errors, warnings = (sum(finding.level == level for finding in results) for level in (ERROR, WARNING))
    if session.as_json:
        answer: documents.Check = {"schema": SCHEMA, "errors": errors, "warnings": warnings, "findings": shown}
        session.print_json(answer)
    else:
        from trapd.ctl.verbs.check import show

        show(session.screen, shown)
        session.screen.line(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")
    return Exit.FAILED if errors else Exit.OK


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Print ``what`` on standard error: on a terminal at once, elsewhere if it takes longer than 2 s."""
    timer = threading.Timer(0 if sys.stderr.isatty() else PATIENCE_OF_OTHERS, print, [what], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def running(session: Session) -> list[Finding]:
    """Return the problems of the trapd that runs with this configuration; none if no trapd answers this user."""
    try:
        return list(rules_running.findings(session.ask(methods.STATUS({})), time.time()))
    except (UnreachableError, AnswerError):
        return []


def unit_findings(settings: Settings) -> list[Finding]:
    """Return a finding for each setting in the pools' own unit settings that systemd, or trapd itself, ignores."""
    from trapd.units import verify

    if resolve_backend(settings) != "systemd":
        return []  # there is no unit; a rule says so
    reason = "the setting is left out of the pool's unit; the others apply"
    return [
        Finding(ERROR, f"[pools.{fault.pool}.systemd] {fault.name} does not apply", reason, fault.why)
        for fault in verify.faults(settings)
    ]


def findings(facts: Facts) -> list[Finding]:
    rules = (*ALWAYS, *rules_paths.RULES, *rules_settings.ALWAYS, *rules_options.ALWAYS)
    results = [finding for rule in rules for finding in rule(facts)]
    return results if "failed" in facts.report else [*results, *celery_findings(facts)]


def inspect(settings: Settings, environ: Mapping[str, str], patience: float = PATIENCE) -> dict[str, Any]:
    """Return inspect_app.py's report, made on the application's interpreter in the environment of the first pool."""
    application = settings.application
    asked = {
        "app": application.app,
        "celeryconfig": application.celeryconfig,
        "smoke_test": application.smoke_test,
        "celery_pools": sorted({pool.celery_pool or "" for pool in settings.pools if pool.run == "worker"}),
        "programs": sorted({pool.run for pool in settings.pools}),
    }
    try:
        done = subprocess.run(
            command(application.python, "trapd.worker.inspect_app", [json.dumps(asked)]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment.of_question(environ, variables.of(application)),
            cwd="/",
            timeout=patience,
        )
        report: dict[str, Any] = json.loads(done.stdout.rpartition(b"\n")[2])
        return report
    except subprocess.TimeoutExpired:
        return {"failed": "time", "summary": f"still not imported after {patience:g} s"}
    except OSError as error:
        return {"failed": "start", "summary": error.strerror or str(error)}
    except ValueError:  # it ended without a report: a crash while importing, or sys.exit
        if reason := python_version.too_old(application.python):
            return {"failed": "version", "summary": reason}
        words = done.stderr.decode(errors="replace").strip()
        return {"failed": "app", "summary": f"it ended with status {done.returncode}", "detail": words}


def look(settings: Settings, patience: float = PATIENCE) -> dict[str, Any]:
    """Return what trapd's watch finds on disk now, from a process of its own: see trapd/watch/once.py."""
    asked = {
        "python": settings.application.python,
        "celeryconfig": settings.application.celeryconfig,
        "distributions": list(settings.watch.distributions),
        "environment": variables.of(settings.application),
        "snapshot": settings.watch.snapshot,
        "paths": variables.paths(settings.pools),
    }
    asking, question = [sys.executable, "-P", "-m", "trapd.watch.once"], json.dumps(asked).encode()
    try:
        done = subprocess.run(asking, input=question, capture_output=True, timeout=patience, check=True)
        report: dict[str, Any] = json.loads(done.stdout)
        return report
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = f"cannot look at what is installed: {error}"
        return {"state": "broken", "reason": reason, "problem": "", "answered": True, "distributions": {}}
