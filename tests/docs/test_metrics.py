"""docs/metrics.md lists the metrics that there are."""

from __future__ import annotations

from docs import metrics


def test_the_page_is_as_it_would_be_written_now() -> None:
    assert metrics.FILE.read_text("utf-8") == metrics.page(), "run: python -m docs.metrics"
