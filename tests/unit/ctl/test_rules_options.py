"""What `trapctl check` says about the options of pools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ctl.test_findings import SETTINGS, SOUND
from trapd.ctl import rules_options
from trapd.ctl.celery_rules import unread_queue
from trapd.ctl.findings import ERROR, WARNING, Facts, Rule
from trapd.spec import PoolSpec


def found(*pools: PoolSpec, rules: tuple[Rule, ...] = rules_options.RULES, **conf: Any) -> list[tuple[str, str]]:
    report = SOUND | {"settings": SOUND["settings"] | conf}
    facts = Facts(replace(SETTINGS, pools=pools), report, {})
    return [(one.level, one.what) for rule in rules for one in rule(facts)]


@pytest.mark.parametrize(
    ("pool", "vain"),
    [
        (PoolSpec("p", time_limit=9.0, max_memory_per_child=9, celery_pool="prefork"), ""),
        (PoolSpec("p", time_limit=9.0, max_tasks_per_child=9, celery_pool="solo"), "time_limit, max_tasks_per_child"),
        (PoolSpec("p", soft_time_limit=9.0, celery_pool="threads"), "soft_time_limit"),
        (PoolSpec("p", time_limit=9.0, max_memory_per_child=9, celery_pool="gevent"), "max_memory_per_child"),
    ],
)
def test_a_limit_that_the_celery_pool_ignores_is_named(pool: PoolSpec, vain: str) -> None:
    expected = [(WARNING, f"pool p sets {vain}, which Celery's pool '{pool.celery_pool}' ignores")]
    assert found(pool) == (expected if vain else [])


def test_a_state_file_of_all_workers_is_refused_whoever_names_it() -> None:
    said = [(ERROR, "the workers of pool p share one state file, state")]
    assert found(PoolSpec("p", statedb="state")) == said
    assert found(PoolSpec("p"), worker_state_db="state") == said
    assert found(PoolSpec("p", statedb="%n.state"), worker_state_db="state") == []


def test_an_environment_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "shipyard.env"
    pool = PoolSpec("p", environment_file=str(file))

    def said() -> list[str]:
        return [what for _, what in found(pool, rules=rules_options.ALWAYS)]

    assert said() == [f"cannot use {file}, the environment_file of pool p"]
    file.write_text("secret\n")
    assert said() == [f"cannot use {file}, the environment_file of pool p"]
    file.write_text("A=1\n")
    assert said() == []


def test_the_default_queue_may_be_left_out_by_everybody() -> None:
    said = [(WARNING, "no pool reads the default queue 'celery'")]
    left_out = PoolSpec("p", exclude_queues=("celery",))
    assert found(left_out, rules=(unread_queue,)) == said
    assert found(left_out, PoolSpec("q"), rules=(unread_queue,)) == []
