"""The smoke test rejects a Trap that does not find the known source."""

from __future__ import annotations

from types import ModuleType

import pytest

from trapd.distribute import sky, smoke

RA, DEC = smoke.SOURCE.position(smoke.SIZE)
BEAM = sky.BEAM * sky.CELL


@pytest.mark.parametrize(
    ("found", "good"),
    [
        pytest.param([(RA, DEC, 1.0)], True, id="as made"),
        pytest.param([(RA, DEC, 1.05)], True, id="nearly as bright"),
        pytest.param([], False, id="nothing"),
        pytest.param([(RA, DEC, 1.0), (RA + 0.1, DEC, 0.2)], False, id="one too many"),
        pytest.param([(RA, DEC, 0.5)], False, id="too faint"),
        pytest.param([(RA, DEC + BEAM, 1.0)], False, id="a beam too far north"),
    ],
)
def test_only_the_source_that_was_made_will_do(found: list[tuple[float, float, float]], good: bool) -> None:
    sources = [{"ra": ra, "dec": dec, "peak_flux": peak} for ra, dec, peak in found]
    assert smoke.is_known(sources) is good


def test_a_trap_that_finds_something_else_is_refused_in_words(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.extraction, "extract", lambda path: {"sources": []})
    with pytest.raises(RuntimeError, match=r"cannot trust trap 9\.8\.7: expected one source of 1\.0 Jy/beam at .*\[\]"):
        smoke.known_source()


def test_the_image_it_makes_is_one_that_trap_can_open(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def extract(path: str) -> dict[str, object]:
        with open(path, "rb") as file:  # noqa: PTH123
            seen.append(file.read(6))
        return {"sources": [{"ra": RA, "dec": DEC, "peak_flux": 1.0}]}

    monkeypatch.setattr(tasks.extraction, "extract", extract)
    smoke.known_source()
    assert seen == [b"SIMPLE"]
