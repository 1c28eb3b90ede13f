"""`trapctl scale`: whose number it is, and the way back to trapd.toml."""

from __future__ import annotations

import logging
from dataclasses import replace

import click
import pytest

from tests.unit.test_controller import triggers
from trapd.ctl.verbs.scale import verb


async def test_who_scaled_a_pool_is_kept_until_the_configured_number_is_back() -> None:
    orders = triggers()
    known = orders.controller
    configured = known.specs["p"].workers
    await orders.scale("p", configured + 1, actor="anna")
    assert (known.state("p").workers, known.state("p").scaled_by) == (configured + 1, "anna")
    assert known.state("p").scaled_wall == known.clock.wall()
    assert known.history.pools()["p"] == known.state("p")
    await orders.scale("p", configured, actor="bert")
    assert (known.state("p").workers, known.state("p").scaled_by) == (None, "")


async def test_a_reload_tells_that_a_number_of_workers_is_not_that_of_trapd_toml(
    caplog: pytest.LogCaptureFixture,
) -> None:
    orders = triggers()
    known = orders.controller
    spec = known.specs["p"]
    await orders.scale("p", 5, actor="anna")
    with caplog.at_level(logging.WARNING, logger="trapd"):
        await orders.reconfigure([replace(spec, workers=4)], application=known.application)
    assert "pool p was scaled to 5 by anna; trapd.toml says 4: trapctl scale p --reset" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="trapd"):
        await orders.reconfigure([replace(spec, workers=5)], application=known.application)
    assert "scaled" not in caplog.text


@pytest.mark.parametrize("words", [[], ["3", "--reset"]], ids=["neither", "both"])
def test_scale_takes_a_number_or_reset(words: list[str]) -> None:
    with pytest.raises(click.UsageError, match="or --reset"):
        verb.main(["default", *words], standalone_mode=False, obj=None)
