"""trapd's units, users and configuration, laid out as a package would, for a machine to boot with."""

from __future__ import annotations

from pathlib import Path

from tests.support import stand_in as programs
from trapd.units import layout

ROOT = Path(__file__).parents[2]
BINDIR = Path("/opt/trapd/bin")

# Run in the machine's root before it boots.
PREPARE = """
systemd-sysusers
chown root:trapd-worker /etc/trapd/celeryconfig.py
"""

# The application of the stand-in's generation.
SAMPLE = """import celery

app = celery.Celery("sample")


@app.task
def who():
    import os, pwd
    return [pwd.getpwuid(os.getuid()).pw_name, os.environ["INVOCATION_ID"], __file__]
"""


def lay_out(root: Path, settings: str, *, celeryconfig: str = "broker_url = 'memory://'\n") -> Path:
    """Write everything below ``root``, which is returned; ``settings`` is the text of trapd.toml."""
    root.mkdir(exist_ok=True)
    root.chmod(0o755)  # it becomes the machine's /
    for file in layout.placed(ROOT / "systemd", BINDIR):
        _write(root, file.path, file.text, file.mode)
    texts = {"trapd.toml": settings, "celeryconfig.py": celeryconfig}
    for path, _, _, mode in layout.CONFIGURATION:
        _write(root, path, texts[path.name], mode)
    return root


def _write(root: Path, path: Path, text: str, mode: int) -> None:
    target = root / path.relative_to("/")
    for folder in reversed(target.relative_to(root).parents):
        (root / folder).mkdir(mode=0o755, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def stand_in(root: Path) -> None:
    """Put tests/support/stand_in.py in the daemon's place, and make it the application's interpreter."""
    program = f"#!/usr/bin/python3 -B\n{Path(programs.__file__).read_text()}"
    _write(root, Path(programs.HERE), program, 0o755)
    _write(root, Path("/usr/local/lib/sample.py"), SAMPLE, 0o644)
    start = f"[Service]\nExecStart=\nExecStart={BINDIR}/python -B {programs.HERE} daemon\n"
    _write(root, Path("/etc/systemd/system/trapd.service.d/stand-in.conf"), start, 0o644)
