"""Write docs/worker_options.md, where each option of `celery worker` goes: ``python -m docs.worker_options``"""

from __future__ import annotations

from pathlib import Path

from trapd.settings.worker_options import GROUPS

FILE = Path(__file__).with_name("worker_options.md")

HEAD = """# Where the options of `celery worker` go

This page lists each option of the command line, and what takes its place. Where both `trapd.toml` and Celery's settings
have a value, `trapd.toml` overrides, as an option of `celery worker` does; where `trapd.toml` has none, Celery's
settings decide, and then Celery's own default. Two defaults are trapd's: one task at a time (`concurrency`), and `INFO`
(`loglevel`). `trapctl check` names each setting that `trapd.toml` overrides.

An option that is no key of `[pools.NAME]` is refused there, with its place in this table. The options are those of
Celery 5.5 to 5.7; this file is made by `python -m docs.worker_options`.

Extra settings behind `--` (`celery worker -- worker.prefetch_multiplier=1`) are Celery settings like others: they go
into celeryconfig.
"""


def page() -> str:
    """The whole file."""
    parts = [HEAD]
    for command, options in GROUPS.items():
        parts.append(f"\n## {command}\n\n| option | its place |\n|---|---|\n")
        for option in options:
            names = ", ".join(f"`{name}`" for name in option.names.split(", "))
            since = f" (since Celery {option.since})" if option.since else ""
            parts.append(f"| {names}{since} | {option.place} |\n")
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
