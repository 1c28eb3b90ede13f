"""What ``make run`` refuses before it begins."""

from __future__ import annotations

import pytest

from demo.__main__ import main


def test_an_image_that_is_not_there_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["setup.cfg", "no such.fits"])
    assert "make run: error: cannot find no such.fits: there is no such file" in capsys.readouterr().err
