"""The task: one image in, an answer out, whatever the image is like."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from trapd.distribute import ledger, provenance


def image(tmp_path: Path, text: str) -> str:
    path = tmp_path / "image.fits"
    path.write_text(text)
    return str(path)


def run(tasks: ModuleType, path: str, **options: Any) -> dict[str, Any]:
    answer = tasks.extract_sources.delay(path, **options).get()
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer, "it must survive JSON"
    return dict(answer)


def test_the_sources_of_an_image_come_back_as_plain_numbers(tasks: ModuleType, tmp_path: Path) -> None:
    answer = run(tasks, image(tmp_path, "0.25 1.5"))
    assert answer["sources"] == [{"ra": 10.0, "peak_flux": 0.25}, {"ra": 10.0, "peak_flux": 1.5}]
    assert (answer["error"], answer["rejected"], answer["rms"]) == (None, False, 0.5)
    assert answer["meta"]["taustart_ts"] == "2026-01-02T00:00:00"
    assert "freq_band" not in answer["meta"], "it is 0, whatever the image says"
    assert answer["started"] <= answer["finished"]


def test_the_answer_names_the_version_that_was_loaded(tasks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "site/trap-9.8.7.dist-info/METADATA").write_text("Name: trap\nVersion: 10.0\n")
    expected = {"trap": "9.8.7", "radio-pyse": "0.7.0", "numba": "0.61.2", "numpy": "2.2.6"}
    assert run(tasks, image(tmp_path, "1"))["versions"] == expected


def test_the_answer_names_the_digest_of_the_generation(tasks: ModuleType, tmp_path: Path) -> None:
    assert run(tasks, image(tmp_path, "1"))["digest"] is None, "no generation: the code as it is installed"
    inside = tmp_path / "7/runtime/trapd/distribute/extraction.py"
    inside.parent.mkdir(parents=True)
    (tmp_path / "7/manifest.json").write_text(json.dumps({"digest": "4f5e"}))
    assert provenance.digest(inside) == "4f5e"


def test_the_message_is_kept_until_the_answer_is_stored_and_not_given_back_for_a_killed_child(
    tasks: ModuleType,
) -> None:
    task = tasks.extract_sources
    assert (task.acks_late, task.acks_on_failure_or_timeout, task.reject_on_worker_lost) == (True, True, False)


def test_what_is_not_a_number_becomes_null(tasks: ModuleType, tmp_path: Path) -> None:
    fluxes = [source["peak_flux"] for source in run(tasks, image(tmp_path, "nan inf 2"))["sources"]]
    assert fluxes == [None, None, 2.0]


def test_an_image_that_trap_rejects_has_no_sources_and_no_error(tasks: ModuleType, tmp_path: Path) -> None:
    answer = run(tasks, image(tmp_path, "rejected"))
    assert (answer["rejected"], answer["sources"], answer["error"]) == (True, [], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot read {}: the file is empty"),
        ("!OSError('unsupported format')", "cannot read {}: unsupported format"),
        ("!TypeError('no frequency\\n  in it')", "cannot extract sources from {}: TypeError: no frequency in it"),
        ("!AssertionError()", "cannot extract sources from {}: AssertionError: no reason given"),
        ("!MemoryError('too large')", "cannot extract sources from {}: MemoryError: too large"),
    ],
)
def test_a_bad_image_is_an_answer_that_says_why(tasks: ModuleType, tmp_path: Path, text: str, words: str) -> None:
    path = image(tmp_path, text)
    answer = run(tasks, path)
    assert (answer["error"], answer["sources"]) == (words.format(path), [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("!MemoryError('too large')", "machine"),
        ("!OSError(5, 'Input/output error')", "machine"),
        ("!OSError(116, 'Stale file handle')", "machine"),
        ("!PermissionError(13, 'Permission denied')", "unseen"),
        ("!OSError('unsupported format')", None),
        ("!ValueError('no beam')", None),
    ],
)
def test_what_the_machine_failed_on_is_told_apart_from_a_bad_image(
    tasks: ModuleType, tmp_path: Path, text: str, fault: str | None
) -> None:
    answer = run(tasks, image(tmp_path, text))
    assert [mark for mark in ("machine", "unseen") if answer[mark]] == ([fault] if fault else [])


def test_a_missing_image_is_an_answer_that_says_so(tasks: ModuleType, tmp_path: Path) -> None:
    path = str(tmp_path / "none.fits")
    assert run(tasks, path)["error"] == f"cannot read {path}: No such file or directory"


def test_a_time_limit_is_not_the_images_fault(tasks: ModuleType, tmp_path: Path) -> None:
    path = image(tmp_path, "!__import__('billiard.exceptions').exceptions.SoftTimeLimitExceeded()")
    with pytest.raises(SoftTimeLimitExceeded):
        tasks.extract_sources.delay(path).get()


def test_options_reach_trap(tasks: ModuleType, tmp_path: Path) -> None:
    path = image(tmp_path, "1")
    assert run(tasks, path, margin=3)["error"] is None
    assert "AssertionError: {'radius': 3}" in run(tasks, path, radius=3)["error"]


def test_numba_is_asked_for_the_fork_safe_layer_before_trap_is_imported(tasks: ModuleType, tmp_path: Path) -> None:
    assert run(tasks, image(tmp_path, "1"))["meta"]["layer"] == "forksafe"


@pytest.mark.parametrize(
    ("node", "generation"), [("default-7-1@host", 7), ("big_ones-12-3@a.b", 12), ("celery@h", None)]
)
def test_the_answer_names_the_worker_and_its_generation(
    tasks: ModuleType, tmp_path: Path, node: str, generation: int | None
) -> None:
    tasks.extract_sources.push_request(hostname=node)
    try:
        answer = tasks.extract_sources.run(image(tmp_path, "1"))
    finally:
        tasks.extract_sources.pop_request()
    assert (answer["worker"], answer["generation"]) == (node, generation)


def test_each_execution_is_written_down(tasks: ModuleType, tmp_path: Path) -> None:
    ids = [tasks.extract_sources.delay(image(tmp_path, text)).id for text in ("1", "")]
    runs = ledger.read((tmp_path / "ledger").read_text().splitlines())
    assert [(run.task, run.version) for run in runs] == [(task, "9.8.7") for task in ids]
    assert all(run.finished is not None and run.finished >= run.started for run in runs)


def test_the_application_is_there_without_trap(tasks: ModuleType) -> None:
    assert tasks.app.conf.include == ["trapd.distribute.tasks"]
    assert tasks.extract_sources.name == "trapd.distribute.extract_sources"
