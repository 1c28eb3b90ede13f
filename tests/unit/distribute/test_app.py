"""The application is light: submitters and trapctl import it where Trap is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECK = """
import sys
from trapd.distribute.app import app
assert "trapd.distribute.tasks" not in sys.modules and "trap" not in sys.modules
assert app.conf.worker_prefetch_multiplier == 1
assert app.conf.task_serializer == app.conf.result_serializer == app.conf.accept_content[0] == "json"
print(app.conf.broker_url, app.conf.include)
"""


def test_it_imports_without_trap_and_reads_the_celeryconfig_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text('BROKER_URL = "memory://"\n')
    env = {**os.environ, "CELERY_CONFIG_MODULE": "elsewhere", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CHECK], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1) == ["memory://", "['trapd.distribute.tasks']\n"]
