"""Write docs/metrics.md, which metrics there are: ``python -m docs.metrics``"""

from __future__ import annotations

from pathlib import Path

from trapd.control.exposition import FAMILIES
from trapd.problem import ProblemKind

FILE = Path(__file__).with_name("metrics.md")

HEAD = """# Metrics

`trapctl metrics` shows the figures of trapd, its pools, its workers and their tasks, in the text format of OpenMetrics.
The file for node_exporter is in the older text format of Prometheus, because node_exporter reads no other.
trapd has no network, so no server can ask it. There are two ways to Prometheus:

* A file for node_exporter. trapd writes the file at each change, at most once in `[metrics] every`, and at rest every 5
  minutes. Start node_exporter with `--collector.textfile.directory=/run/trapd`, and set in `trapd.toml`:

  ```toml
  [metrics]
  textfile = "/run/trapd/trapd.prom"
  ```

  A change is one of trapd or of a worker, not the end of a task: the figures of tasks are as old as the file.
* Anything that runs a command, such as a timer, or an exporter with a network of its own: `trapctl metrics` asks each
  worker for its tasks at that moment. Every user may run it.

Series of a worker end with the worker. A worker counts its tasks from its start, and trapd counts events from its own
start: `rate()` and `increase()` know that counters begin anew. A name with `_total` is a counter.

Three expressions for alerts:

* `time() - trapd_metrics_timestamp_seconds > 900`: trapd itself is silent;
* `trapd_rollout_waits_for_person == 1 and time() - trapd_rollout_start_timestamp_seconds > 3600`: a rollout began an
  hour ago and waits for a person;
* `time() - trapd_problem_start_timestamp_seconds > 600`: something has been wrong for ten minutes.

This file is made by `python -m docs.metrics`.

| name | type | labels | meaning |
|---|---|---|---|
"""


KINDS = """
## Kinds of problems

These are the values of the label `kind` of `trapd_problem_start_timestamp_seconds`, and of `kind` in the
`open_problems` of `trapctl status --json`:

| kind | what is wrong |
|---|---|
"""


def page() -> str:
    """The whole file."""
    rows = []
    for family in FAMILIES:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{name}` | {family.kind} | {labels} | {family.meaning} |\n")
    kinds = "".join(f"| `{kind}` | {kind.meaning} |\n" for kind in ProblemKind)
    return f"{HEAD}{''.join(rows)}{KINDS}{kinds}"


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8")
