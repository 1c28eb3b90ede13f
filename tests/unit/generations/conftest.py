"""Orders for generations are done in this process: fast, and where monkeypatches reach them."""

from __future__ import annotations

import pytest

from tests.support import maker_in_process


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    maker_in_process.use(monkeypatch)
