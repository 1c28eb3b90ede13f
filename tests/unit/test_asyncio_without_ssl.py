"""The daemon does without TLS, and so without the 2 MB that it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest


def ran(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("more", ["", ", trapd.backend.systemd.backend, trapd.control.notifier"])
def test_the_daemon_imports_no_ssl(more: str) -> None:
    assert ran(f"import sys, trapd.__main__{more}; print(sys.modules.keys() & {{'ssl', '_ssl'}})") == "set()\n"


def test_whoever_needs_it_later_gets_it() -> None:
    assert ran("import trapd.__main__, ssl; print(ssl.create_default_context.__name__)") == "create_default_context\n"


def test_where_asyncio_is_there_already_nothing_happens() -> None:
    """In tests, and where another program imports trapd."""
    script = "import asyncio, trapd.asyncio_without_ssl as a, sys; print(sys.modules['ssl'] is asyncio.sslproto.ssl)"
    assert ran(script) == "True\n"
